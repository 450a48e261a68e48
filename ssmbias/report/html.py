"""One HTML page about a run that needs nothing but itself: no script, no network, no fonts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ssmbias.report.claim_section import claim_section
from ssmbias.report.figures import FigurePlan, plan_figures, save_figures
from ssmbias.report.fragments import (
    anchor,
    mapping_table,
    numbers,
    plain_value,
    scrolling,
    table,
    verdict_badge,
)
from ssmbias.report.page import page, picture
from ssmbias.report.reproduce import CITATION, reproduce_command
from ssmbias.report.results import VERDICTS, count_verdicts, load_results
from ssmbias.report.tables import COLUMNS, headline, open_reasons, verdict_rows
from ssmbias.runs.files import write_atomically

REPORT_FILE = "report.html"


def write_report(run_dir: str | os.PathLike[str]) -> Path:
    """Write `report.html` into a run's folder; figures that are not there yet are drawn.

    The page stands alone: figures and style are inside, formulas are MathML, and it asks for
    nothing from anywhere. All text from the results is escaped. The file is complete or is not
    there.

    Args:
      run_dir: folder of the run.

    Returns:
      The file.

    Raises:
      ValueError: the run cannot be read.
    """
    folder = Path(run_dir)
    results, arrays = load_results(folder)
    plans = plan_figures(results, arrays)
    if not all(_picture(folder, plan).is_file() for plan in plans):
        save_figures(folder)
    text = _page(results, folder, plans)
    return write_atomically(folder / REPORT_FILE, lambda stream: stream.write(text.encode("utf-8")))


def _picture(folder: Path, plan: FigurePlan) -> Path:
    return folder / "figures" / f"{plan.name}.png"


def _page(results: Mapping[str, Any], folder: Path, plans: Sequence[FigurePlan]) -> str:
    groups = _by_claim(results)
    contents = [
        ("verdicts", "Verdicts", _verdict_section(results)),
        ("figures", "Figures", _figures_section(folder, plans)),
        (
            "claims",
            "Claims",
            "".join(claim_section(results, id, rows) for id, rows in groups.items()),
        ),
        ("run", "This run", _run_section(results)),
        ("reproduce", "Reproduce", _reproduce_section(results)),
        ("cite", "Cite", scrolling("How to cite", f"<pre>{escape(CITATION)}</pre>")),
    ]
    return page(f"{headline(results)} – ssmbias verify", _header(results), contents)


def _header(results: Mapping[str, Any]) -> str:
    counts = count_verdicts(results)
    worst = next((v for v in ("violated", "inconclusive") if counts[v]), "holds")
    tiles = "".join(
        f'<li class="{verdict}"><b>{counts[verdict]}</b> {verdict}</li>' for verdict in VERDICTS
    )
    seconds = results.get("seconds")
    took = f", {seconds:.0f} s" if isinstance(seconds, int | float) else ""
    return (
        '<p class="kicker">ssmbias verify: theory against simulation</p>'
        f'<h1 class="{worst}">{escape(headline(results))}</h1>'
        f'<ul class="counts" aria-label="Number of checks by verdict">{tiles}</ul>'
        f"<p>Started {escape(str(results.get('started') or 'at an unknown time'))}{took}.</p>"
    )


def _verdict_section(results: Mapping[str, Any]) -> str:
    rows = []
    for row, cells in zip(results["evidence"], verdict_rows(results), strict=True):
        link = f'<a href="#{anchor(row["claim"])}">{escape(cells.claim)}</a>'
        rows.append(
            f'<tr><th scope="row">{link}</th><td>{escape(cells.setting)}</td>'
            f'<td class="text">{escape(str(row["quantity"]))}</td>{numbers(row)}'
            f'<td class="last">{verdict_badge(row["verdict"])}</td></tr>'
        )
    reasons = "".join(
        f"<li><b>{escape(claim)}, {escape(setting)}</b> {verdict_badge(verdict)} "
        f"{escape(reason or 'no reason given')}</li>"
        for claim, setting, verdict, reason in open_reasons(results)
    )
    note = (
        "<p>A check holds while its difference is at most its tolerance. For inequalities both "
        "are signed: negative means that the inequality holds with room to spare.</p>"
    )
    head = [*COLUMNS[:2], "quantity", *COLUMNS[2:]]
    return (
        note
        + table("All verdicts", head, rows)
        + (f'<ul class="reasons">{reasons}</ul>' if reasons else "")
    )


def _figures_section(folder: Path, plans: Sequence[FigurePlan]) -> str:
    figures = "".join(picture(_picture(folder, plan), plan.caption, plan.alt) for plan in plans)
    return f'<div class="figures">{figures}</div>' if figures else ""


def _run_section(results: Mapping[str, Any]) -> str:
    config = dict(results.get("config") or {})
    settings = config.get("settings")
    parts = []
    if isinstance(settings, list) and settings and all(isinstance(s, dict) for s in settings):
        config.pop("settings")
        names = list(dict.fromkeys(key for s in settings for key in s))
        rows = [
            f"<tr>{''.join(_cell(setting.get(name)) for name in names)}</tr>"
            for setting in settings
        ]
        parts.append(table("Settings", names, rows))
    commit = results.get("git_commit")
    parts += [
        mapping_table("Configuration", config),
        mapping_table("Versions", results.get("versions") or {}),
        mapping_table("Hardware", results.get("hardware") or {}),
        mapping_table("Source", {"git commit": commit or "not run from a git checkout"}),
    ]
    return "".join(parts)


def _cell(value: Any) -> str:
    return f'<td class="nowrap">{escape(plain_value(value))}</td>'


def _reproduce_section(results: Mapping[str, Any]) -> str:
    commit = results.get("git_commit")
    lines = [reproduce_command(results.get("config") or {})]
    if commit:
        clean = str(commit).removesuffix("-dirty")
        note = "  # and the changes on top of it" if clean != commit else ""
        lines.insert(0, f"git checkout {clean}{note}")
    return (
        "<p>In a clone of the repository:</p>"
        + scrolling("Commands", f"<pre>{escape(chr(10).join(lines))}</pre>")
        + "<p>Numbers agree to the stated tolerances; their last digits depend on hardware and "
        "versions. The data behind the figures are in <code>arrays.npz</code>, everything on this "
        "page in <code>results.json</code>.</p>"
    )


def _by_claim(results: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {str(id): [] for id in results["claims"]}
    for row in results["evidence"]:
        groups.setdefault(str(row["claim"]), []).append(row)
    return groups
