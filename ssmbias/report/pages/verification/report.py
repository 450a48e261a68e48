"""The page of a verification, from the saved results of a run only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ssmbias.report.cells import Badge, Column
from ssmbias.report.page import (
    Code,
    Items,
    Picture,
    Pictures,
    Section,
    facts,
    page,
    plain_value,
    write_page,
)
from ssmbias.report.pages.verification.claims import claim_section
from ssmbias.report.pages.verification.figures import FigurePlan, draw_figures, plan_figures
from ssmbias.report.pages.verification.verdicts import headline, verdict_table
from ssmbias.report.render import render
from ssmbias.report.results import (
    VERDICTS,
    count_verdicts,
    fields_of_subjects,
    load_results,
    worst_verdict,
)
from ssmbias.report.style import Arrays
from ssmbias.report.table import Table

_NOTE = (
    "A check holds while its difference is at most its tolerance. For inequalities both are "
    "signed: negative means that the inequality holds with room to spare."
)
_LAST_DIGITS = Markup(
    "<p>Numbers agree to the stated tolerances; their last digits depend on hardware and "
    "versions. The data behind the figures are in <code>arrays.npz</code>, everything on this "
    "page in <code>results.json</code>.</p>"
)


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
    results, arrays = load_results(run_dir)
    folder, plans = Path(run_dir), plan_figures(results, arrays)
    if not all(_picture(folder, plan).png.is_file() for plan in plans):
        draw_figures(results, arrays, folder)
    return write_page(folder, _page(results, folder, plans))


def write_report_of(results: Mapping[str, Any], arrays: Arrays, folder: Path) -> Path:
    """As `write_report`, for results that are at hand; the folder exists.

    All figures are drawn: those that are there may be of an earlier run.
    """
    draw_figures(results, arrays, folder)
    return write_page(folder, _page(results, folder, plan_figures(results, arrays)))


def _picture(folder: Path, plan: FigurePlan) -> Picture:
    return Picture(folder / "figures" / f"{plan.name}.png", plan.caption, plan.alt)


def _page(results: Mapping[str, Any], folder: Path, plans: Sequence[FigurePlan]) -> str:
    table = verdict_table(results)
    claims = [
        claim_section(results, id, rows, *_own_pictures(results, folder, id))
        for id, rows in _by_claim(results).items()
    ]
    return page(
        "ssmbias verify",
        [
            Section("verdicts", "Verdicts", [_NOTE, _titled(table), _reasons(table)]),
            Section("figures", "Figures", [Pictures(_picture(folder, plan) for plan in plans)]),
            Section("claims", "Claims", claims),
            Section("run", "This run", _run_parts(results)),
            Section("reproduce", "Reproduce", _reproduce_parts(results)),
        ],
        headline=headline(results),
        kicker="ssmbias verify: theory against simulation",
        tone=worst_verdict(results),
        header=[_counts(results), _started(results)],
        cite=[str(claim.get("bibtex") or "") for claim in results["claims"].values()],
    )


def _counts(results: Mapping[str, Any]) -> Markup:
    counts = count_verdicts(results)
    return render("counts.html", counts=[(verdict, counts[verdict]) for verdict in VERDICTS])


def _started(results: Mapping[str, Any]) -> str:
    seconds = results.get("seconds")
    took = f", {seconds:.0f} s" if isinstance(seconds, int | float) else ""
    return f"Started {results.get('started') or 'at an unknown time'}{took}."


def _titled(table: Table) -> Table:
    """The table with a caption: its title is the page's headline already."""
    return Table(table.columns, table.rows, "All verdicts")


def _reasons(table: Table) -> Markup:
    notes = [(note, Badge(note.tone)) for note in table.notes]
    return render("reasons.html", notes=notes) if notes else Markup("")


def _own_pictures(
    results: Mapping[str, Any], folder: Path, claim: str
) -> tuple[list[Picture], list[str]]:
    """Figures that came with a claim, and why others of them could not be drawn.

    Pictures are PNG files inside of the run's folder, and nothing else.
    """
    pictures, not_drawn = [], []
    for figure in results.get("figures") or []:
        if not isinstance(figure, dict) or str(figure.get("claim")) != claim:
            continue
        if figure.get("error"):
            name = f"{figure.get('name')} of {figure.get('subject')}"
            not_drawn.append(f"{name}: {figure['error']}")
            continue
        path = (folder / str(figure.get("file"))).with_suffix(".png")
        inside = path.resolve().is_relative_to(folder.resolve())
        if inside and path.is_file() and path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n"):
            caption = f"{figure.get('subject')}: {figure.get('caption')}"
            pictures.append(Picture(path, caption, f"Figure {figure.get('name')}. {caption}"))
    return pictures, not_drawn


def _run_parts(results: Mapping[str, Any]) -> list[Any]:
    by_type: dict[str, list[dict[str, Any]]] = {}
    for fields in fields_of_subjects(results):
        by_type.setdefault(str(fields.pop("about")), []).append(fields)
    commit = results.get("git_commit")
    return [
        *(_subjects(about, subjects) for about, subjects in by_type.items()),
        facts("Configuration", results.get("config") or {}),
        facts("Versions", results.get("versions") or {}),
        facts("Hardware", results.get("hardware") or {}),
        facts("Source", {"git commit": commit or "not run from a git checkout"}),
    ]


def _subjects(about: str, subjects: Sequence[Mapping[str, Any]]) -> Table:
    """Subjects of one type with their fields; a subject that is a field is named."""

    def shown(value: Any) -> str:
        named = isinstance(value, dict) and "name" in value
        return plain_value(value["name"] if named else value)

    names = list(dict.fromkeys(key for fields in subjects for key in fields))
    columns = [Column(str(name), form=shown, heading=name == "name") for name in names]
    rows = [[fields.get(name) for name in names] for fields in subjects]
    return Table(columns, rows, f"Subjects: {about}" if about else "Subjects")


def _reproduce_parts(results: Mapping[str, Any]) -> list[Any]:
    lines = []
    commit = results.get("git_commit")
    if commit:
        clean = str(commit).removesuffix("-dirty")
        note = "  # and the changes on top of it" if clean != commit else ""
        lines.append(f"git checkout {clean}{note}")
    if results.get("command"):
        lines.append(str(results["command"]))
    parts: list[Any] = []
    if lines:
        parts += ["In a clone of the repository:", Code("Commands", "\n".join(lines))]
    sources = _sources(results)
    if sources:
        parts += ["With these files, which are not of the package:", Items(sources)]
    return [*parts, _LAST_DIGITS]


def _sources(results: Mapping[str, Any]) -> list[Markup]:
    """Files outside of the package in which claims are written."""
    claims_of: dict[tuple[str, str], list[str]] = {}
    for id, claim in results["claims"].items():
        found = claim.get("source") or []
        for source in found if isinstance(found, list) else [found]:
            key = str(source.get("file")), str(source.get("sha256"))
            claims_of.setdefault(key, []).append(str(id))
    return [
        Markup("<code>{}</code>, SHA-256 <code>{}</code> (claims: {})").format(
            file, digest, ", ".join(ids)
        )
        for (file, digest), ids in claims_of.items()
    ]


def _by_claim(results: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {str(id): [] for id in results["claims"]}
    for row in results["evidence"]:
        groups.setdefault(str(row["claim"]), []).append(row)
    return groups
