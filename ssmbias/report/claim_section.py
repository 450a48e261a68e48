"""The section of a report about one claim: what it says, what was found, and how it could fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ssmbias.report.fragments import NUMBER_CELL, anchor, numbers, table, typeset, verdict_badge
from ssmbias.report.mathml import to_mathml
from ssmbias.report.tables import COLUMNS, format_value


def claim_section(results: Mapping[str, Any], id: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One claim: statement, evidence of all settings, tolerance, premises, control, reference."""
    claim = results["claims"].get(id, {})
    title = escape(str(claim.get("title") or ""))
    kind = escape(str(claim.get("kind") or (rows[0]["kind"] if rows else "")))
    parts = [
        f'<section class="claim" id="{anchor(id)}"><h3>{escape(id)} <span>{title}</span> '
        f'<span class="kind">{kind}</span></h3>',
        _statement(str(claim.get("statement") or "")),
        _evidence_table(id, rows),
        '<dl class="facts">',
        _fact("Tolerance", _per_setting(rows, "derivation")),
        _fact("Assumptions", _assumptions(claim, rows)),
        _fact("Negative control", _control(claim, rows)),
        _fact("Fit", _fits(rows)),
        _fact("Reason", _per_setting([r for r in rows if r["verdict"] != "holds"], "reason")),
        _fact("Reference", escape(str(claim.get("reference") or ""))),
        "</dl></section>",
    ]
    return "".join(parts)


def _statement(tex: str) -> str:
    if not tex.strip():
        return ""
    try:
        formula = to_mathml(tex, block=True)
    except ValueError:
        # Better the source than a wrong formula.
        formula = f"<code>{escape(tex)}</code>"
    return f'<div class="math" role="group" aria-label="Statement" tabindex="0">{formula}</div>'


def _evidence_table(id: str, rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>Not checked in this run.</p>"
    # Only bounds have margins.
    margins = any(row.get("margin") is not None for row in rows)
    lines = []
    for row in rows:
        failed = row.get("num_unconverged") or 0
        runs = f"{row.get('num_runs') or 0}" + (f", {failed} unconverged" if failed else "")
        cells = [typeset(format_value(row.get("margin")))] * margins + [escape(runs)]
        lines.append(
            f'<tr><th scope="row">{escape(str(row["setting"]))}</th>'
            f'<td class="text">{escape(str(row["quantity"]))}</td>{numbers(row)}'
            + "".join(f"<td{NUMBER_CELL}>{cell}</td>" for cell in cells)
            + f'<td class="last">{verdict_badge(row["verdict"])}</td></tr>'
        )
    head = ["setting", "quantity", *COLUMNS[2:6], *["margin"] * margins, "runs", "verdict"]
    return table(f"Evidence for {id}", head, lines)


def _assumptions(claim: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Every premise once, with what was found in each setting; those never checked as such."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for premise in row.get("assumptions") or []:
            holds = bool(premise.get("holds"))
            sign, word = ("✓", "met") if holds else ("✗", "not met")
            detail = f" ({escape(str(premise['detail']))})" if premise.get("detail") else ""
            text = (
                f'<span class="{"holds" if holds else "violated"}">'
                f'<span aria-hidden="true">{sign}</span> {word}</span> in '
                f"{escape(str(row['setting']))}{detail}"
            )
            texts = found.setdefault(str(premise.get("statement")), [])
            if text not in texts:
                texts.append(text)
    # What was checked may name its numbers; what was only announced is listed where it differs.
    stated = [] if found else [str(s) for s in claim.get("assumptions") or []]
    items = [f"<li>{escape(s)}: {'; '.join(texts)}</li>" for s, texts in found.items()]
    items += [f"<li>{escape(s)}: not checked</li>" for s in stated]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _control(claim: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The wrong variant, and in which settings the same check rejected it."""
    outcomes: dict[str, list[str]] = {}
    for row in rows:
        rejected = row.get("control_rejected")
        outcome = "not tried" if rejected is None else "rejected" if rejected else "NOT rejected"
        settings = outcomes.setdefault(outcome, [])
        if str(row["setting"]) not in settings:
            settings.append(str(row["setting"]))
    classes = {"rejected": "holds", "NOT rejected": "violated", "not tried": "inconclusive"}
    signs = {"rejected": "✓", "NOT rejected": "✗", "not tried": "?"}
    found = "; ".join(
        f'<span class="{classes[outcome]}"><span aria-hidden="true">{signs[outcome]}</span> '
        f"{outcome}</span> in {escape(', '.join(settings))}"
        for outcome, settings in outcomes.items()
    )
    what = escape(str(claim.get("control") or ""))
    return ": ".join(part for part in (what, found) if part)


def _fits(rows: Sequence[Mapping[str, Any]]) -> str:
    items = []
    for row in rows:
        fit = row.get("fit")
        if not fit:
            continue
        values = {key: typeset(format_value(fit.get(key))) for key in ("exponent", "low", "high")}
        confidence = fit.get("confidence")
        level = f"{100 * confidence:g} % interval" if confidence else "interval"
        items.append(
            f"<li>{escape(str(row['setting']))}: exponent {values['exponent']}, {level} "
            f"[{values['low']}, {values['high']}], expected "
            f"{typeset(format_value(fit.get('expected')))}, "
            f"{escape(str(fit.get('num_points')))} points</li>"
        )
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _per_setting(rows: Iterable[Mapping[str, Any]], key: str) -> str:
    """A text of every row, once where all settings share it."""
    texts: dict[str, list[str]] = {}
    for row in rows:
        text = str(row.get(key) or "")
        if text:
            settings = texts.setdefault(text, [])
            if str(row["setting"]) not in settings:
                settings.append(str(row["setting"]))
    if len(texts) == 1:
        return escape(next(iter(texts)))
    items = "".join(
        f"<li>{escape(', '.join(settings))}: {escape(text)}</li>"
        for text, settings in texts.items()
    )
    return f"<ul>{items}</ul>" if items else ""


def _fact(name: str, html: str) -> str:
    return f"<div><dt>{name}</dt><dd>{html}</dd></div>" if html else ""
