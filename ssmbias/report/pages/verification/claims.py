"""The section of a report about one claim: what it says, what was found, and how it could fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ssmbias.report.cells import Column
from ssmbias.report.mathml import to_mathml
from ssmbias.report.numbers import format_value, number_in_html
from ssmbias.report.page import Picture, Pictures
from ssmbias.report.pages.verification.verdicts import QUANTITY, VALUES, VERDICT, anchor
from ssmbias.report.render import render
from ssmbias.report.table import Table

Fact = list[dict[str, Any]]
"""What stands beside a word of the list of facts: pieces of HTML, and whether each is listed."""

_SUBJECT = Column("subject", lambda row: str(row["subject"]), heading=True)
_MARGIN = Column("margin", lambda row: row.get("margin"), True, form=format_value)


def claim_section(
    results: Mapping[str, Any],
    id: str,
    rows: Sequence[Mapping[str, Any]],
    pictures: Sequence[Picture] = (),
    not_drawn: Sequence[str] = (),
) -> Markup:
    """One claim: statement, evidence, figures, tolerance, premises, control, reference.

    Args:
      results: of the run.
      id: of the claim.
      rows: its rows.
      pictures: figures that came with it.
      not_drawn: why others of them could not be drawn.
    """
    claim = results["claims"].get(id, {})
    facts = [
        ("Tolerance", _per_subject(rows, "derivation")),
        ("Premises", _premises(claim, rows)),
        ("Negative control", _control(claim, rows)),
        ("Fit", _fits(rows)),
        ("Reason", _per_subject([r for r in rows if r["verdict"] != "holds"], "reason")),
        ("Figures not drawn", _list(not_drawn)),
        ("Reference", _once(claim.get("reference"))),
    ]
    return render(
        "claim.html",
        anchor=anchor(id),
        id=id,
        title=str(claim.get("title") or ""),
        kind=str(claim.get("kind") or (rows[0]["kind"] if rows else "")),
        statement=_statement(str(claim.get("statement") or "")),
        table=_evidence_table(id, rows),
        pictures=Pictures(pictures) if pictures else "",
        facts=[(name, parts) for name, parts in facts if parts],
    )


def _statement(tex: str) -> Markup:
    if not tex.strip():
        return Markup("")
    try:
        return Markup(to_mathml(tex, block=True))
    except ValueError:
        # Better the source than a wrong formula.
        return Markup("<code>{}</code>").format(tex)


def _evidence_table(id: str, rows: Sequence[Mapping[str, Any]]) -> Table | None:
    if not rows:
        return None
    # Only bounds have margins.
    margins = any(row.get("margin") is not None for row in rows)
    runs = Column("runs", _runs, True)
    columns = (_SUBJECT, QUANTITY, *VALUES, *[_MARGIN] * margins, runs, VERDICT)
    return Table(columns, rows, f"Evidence for {id}")


def _runs(row: Mapping[str, Any]) -> str:
    failed = row.get("num_unconverged") or 0
    return f"{row.get('num_runs') or 0}" + (f", {failed} unconverged" if failed else "")


def _premises(claim: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Fact:
    """Every premise once, with what was found for each subject; those never checked as such."""
    found: dict[str, list[Markup]] = {}
    for row in rows:
        for premise in row.get("premises") or []:
            holds = bool(premise.get("holds"))
            detail = f" ({premise['detail']})" if premise.get("detail") else ""
            text = Markup("{} in {}{}").format(
                _signed("holds" if holds else "violated", "met" if holds else "not met"),
                row["subject"],
                detail,
            )
            texts = found.setdefault(str(premise.get("statement")), [])
            if text not in texts:
                texts.append(text)
    # What was checked may name its numbers; what was only announced is listed where it differs.
    stated = [] if found else [str(s) for s in claim.get("premises") or []]
    said = [
        Markup("{}: {}").format(statement, Markup("; ").join(texts))
        for statement, texts in found.items()
    ]
    return _list([*said, *(Markup("{}: not checked").format(s) for s in stated)])


def _control(claim: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Fact:
    """The wrong variant, and for which subjects the same check rejected it."""
    outcomes: dict[str, list[str]] = {}
    for row in rows:
        rejected = row.get("control_rejected")
        outcome = "not tried" if rejected is None else "rejected" if rejected else "NOT rejected"
        subjects = outcomes.setdefault(outcome, [])
        if str(row["subject"]) not in subjects:
            subjects.append(str(row["subject"]))
    tones = {"rejected": "holds", "NOT rejected": "violated", "not tried": "inconclusive"}
    found = Markup("; ").join(
        Markup("{} in {}").format(_signed(tones[outcome], outcome), ", ".join(subjects))
        for outcome, subjects in outcomes.items()
    )
    parts = [part for part in (str(claim.get("control") or ""), found) if part]
    return _once(Markup(": ").join(parts))


def _fits(rows: Sequence[Mapping[str, Any]]) -> Fact:
    items = []
    for row in rows:
        fit = row.get("fit")
        if not fit:
            continue

        def value(key: str, fit: Mapping[str, Any] = fit) -> Markup:
            return number_in_html(format_value(fit.get(key)))

        confidence = fit.get("confidence")
        level = f"{100 * confidence:g} % interval" if confidence else "interval"
        items.append(
            Markup("{}: exponent {}, {} [{}, {}], expected {}, {} points").format(
                row["subject"],
                value("exponent"),
                level,
                value("low"),
                value("high"),
                value("expected"),
                fit.get("num_points"),
            )
        )
    return _list(items)


def _per_subject(rows: Iterable[Mapping[str, Any]], key: str) -> Fact:
    """A text of every row, once where all subjects share it."""
    texts: dict[str, list[str]] = {}
    for row in rows:
        text = str(row.get(key) or "")
        if text:
            subjects = texts.setdefault(text, [])
            if str(row["subject"]) not in subjects:
                subjects.append(str(row["subject"]))
    if len(texts) == 1:
        return _once(next(iter(texts)))
    return _list([f"{', '.join(subjects)}: {text}" for text, subjects in texts.items()])


def _signed(tone: str, word: str) -> Markup:
    """A word with sign and colour; screen readers hear the word only."""
    sign = {"holds": "✓", "violated": "✗", "inconclusive": "?"}[tone]
    return Markup('<span class="{}"><span aria-hidden="true">{}</span> {}</span>').format(
        tone, sign, word
    )


def _once(text: Any) -> Fact:
    return [{"html": text, "listed": False}] if text else []


def _list(texts: Sequence[Any]) -> Fact:
    return [{"html": text, "listed": True} for text in texts]
