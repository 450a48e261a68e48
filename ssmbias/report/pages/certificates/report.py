"""From the saved results of scripts/certify.py to its tables, figures and page."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssmbias.report.page import Items, Picture, Pictures, Section, facts, page, write_page
from ssmbias.report.pages.certificates.figures import series, tube_figure, width_figure
from ssmbias.report.pages.certificates.rows import CertificateRow, certificate_row, outward
from ssmbias.report.table import Table, table_of, write_table
from ssmbias.runs.files import CERTIFY_SCHEMA, RESULTS_FILE

# Tubes are drawn of the widest box of each shape (κ, d), and of no more than this.
_MOST_TUBES = 4


def load_records(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a finished run.

    Args:
      folder: holds `results.json` as scripts/certify.py writes it.

    Raises:
      ValueError: the file is missing, cut off, or of another schema.

    Example:
      >>> load_records("no/such/run")
      Traceback (most recent call last):
      ...
      ValueError: no/such/run/results.json: missing or unreadable (...); run `make certify` again
    """
    path = Path(folder) / RESULTS_FILE
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: missing or unreadable ({error}); run `make certify` again"
        ) from error
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != CERTIFY_SCHEMA:
        raise ValueError(
            f"{path}: schema is {schema!r}, this version reads {CERTIFY_SCHEMA!r}; use the "
            "version of ssmbias that wrote it, or run `make certify` again"
        )
    return results["records"]


def write_report(folder: str | os.PathLike[str], command: str = "") -> list[Path]:
    """Write tables, figures and `report.html` of a finished run.

    Args:
      folder: of the run. Files: table.md, .tex and .csv, figures/*.png and .pdf, report.html.
      command: the command line that repeats the run.

    Returns:
      All files.

    Raises:
      ValueError: as `load_records`.
    """
    folder = Path(folder)
    records = load_records(folder)
    table = certificate_table(records)
    files = write_table(folder, "table", table, label="tab:certificates")
    (folder / "figures").mkdir(exist_ok=True)
    rows: Sequence[CertificateRow] = table.rows
    pictures = [*_widths(rows, folder / "figures"), *_tubes(records, folder)]
    files += [one.png.with_suffix(suffix) for one in pictures for suffix in (".png", ".pdf")]
    return [*files, write_page(folder, _page(table, records, pictures, command))]


def certificate_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """The boxes of a run, those of one flow together; printed by rich on a terminal.

    Args:
      records: of `load_records`, one at least.
    """
    rows = [certificate_row(record) for record in records]
    order = list(dict.fromkeys(row.experiment for row in rows))
    rows.sort(key=lambda row: order.index(row.experiment))
    return table_of(rows, _CAPTION)


_CAPTION = (
    "Boxes of starts. Certified for every start in the box: bounds of error/d at the "
    "end of the clean and of the poisoned flow, rounded outward. Sampled: poisoned error/d "
    "of a few starts, which prove nothing. Seconds: prover + checker + second checker. Ends "
    "of boxes are rounded here and exact in the proofs."
)


def _widths(rows: Sequence[CertificateRow], folder: Path) -> list[Picture]:
    pictures = []
    for number, group in enumerate(series(rows)):
        name = "width" if number == 0 else f"width_{number + 1}"
        png, _ = width_figure(group, folder / name)
        worst = max(group, key=lambda row: row.rel)
        pictures.append(
            Picture(
                png,
                f"Bounds of error/d against the width of the box, {group[0].experiment}. Every "
                "start of a box ends in the shaded band if poisoned, and below the blue line if "
                "clean; bars are sampled starts, which prove nothing.",
                f"Error over d, logarithmic, for {len(group)} widths. At the widest box, "
                f"{worst.rel:g}: clean at most {outward(worst.clean_error_upper, up=True)}, "
                f"poisoned at least {outward(worst.poisoned_error_lower, up=False)} and at most "
                f"{outward(worst.poisoned_error_upper, up=True)}.",
            )
        )
    return pictures


def _tubes(records: Sequence[Mapping[str, Any]], folder: Path) -> list[Picture]:
    shown: dict[tuple[int, int], Mapping[str, Any]] = {}
    for record in records:
        shape = record["seq_len"], record["state_dim"]
        if record["curves"] and (shape not in shown or record["rel"] > shown[shape]["rel"]):
            shown[shape] = record
    pictures = []
    for record in list(shown.values())[:_MOST_TUBES]:
        stem = Path(record["curves"]).stem
        with np.load(folder / record["curves"], allow_pickle=False) as arrays:
            png, _ = tube_figure(arrays, folder / "figures" / f"tube_{stem}")
        pictures.append(
            Picture(
                png,
                f"The tube of {record['name']}, the hull over all of its branches, in the "
                "coordinates of the proof: no poisoned trajectory that starts in the box leaves "
                "it. Lines are sampled trajectories from when w = 0 to their limit. Below "
                "the drawn range w goes on to 0.",
                "Panels with logarithmic clock E: g grows over several powers of ten, w rises and "
                "falls back to 0, and the mu_j draw together. All lines lie inside the bands.",
            )
        )
    return pictures


def _page(
    table: Table,
    records: Sequence[Mapping[str, Any]],
    pictures: Sequence[Picture],
    command: str,
) -> str:
    rows: Sequence[CertificateRow] = table.rows
    title, tone = headline(rows)
    failed = [
        f"{record['name']}: {record['status']}. {record['reason']}"
        for record in records
        if record["status"] != "certified"
    ]
    proofs = {record["name"]: record["log"] for record in records if record["log"]}
    boxes = dataclasses.replace(table, title="Bounds of error/d, rounded outward")
    return page(
        "ssmbias certify",
        [
            Section("verdict", "What is proved", _sentences(rows)),
            Section("failed", "What is not proved", [Items(failed)]),
            Section("boxes", "Boxes", [boxes]),
            Section("figures", "Figures", [Pictures(pictures)]),
            Section("limits", "What this rests on", [Items(_LIMITS)]),
            Section("proofs", "Proofs", [facts("Files", proofs)]),
        ],
        headline=title,
        tone=tone,
        command=command,
    )


def headline(rows: Sequence[CertificateRow]) -> tuple[str, str]:
    """The outcome in a few words, and the style's class for it."""
    proved = sum(row.status == "certified" for row in rows)
    wrong = [row.box for row in rows if row.status == "contradicted"]
    if wrong:
        return f"Contradicted: {', '.join(wrong)}", "violated"
    noun = "box" if len(rows) == 1 else "boxes"
    tone = "holds" if proved == len(rows) else "inconclusive"
    return f"{proved} of {len(rows)} {noun} certified", tone


def _sentences(rows: Sequence[CertificateRow]) -> list[str]:
    """What the certified boxes say together."""
    proved = [row for row in rows if row.status == "certified"]
    if not proved:
        return ["Nothing: no box was certified."]
    least = min(proved, key=lambda row: row.poisoned_error_lower / row.clean_error_upper)
    ratio = outward(least.poisoned_error_lower / least.clean_error_upper, up=False)
    sentences = [
        "For every start in a certified box, not only for those that were tried: the clean flow "
        "reaches zero loss with error/d at most ε, and the poisoned flow reaches zero loss with "
        "error/d between X and Y. The error is the largest difference of the impulse response "
        "from the teacher's over lags 0 to 19.",
        f"In each of them every poisoned error is at least {ratio} times every clean one "
        f"(X / ε, least for {least.box}).",
    ]
    sampled = [row for row in proved if np.isfinite(row.ratio)]
    if sampled:
        loose = min(sampled, key=lambda row: row.ratio)
        sentences.append(
            f"X is at least {loose.ratio:.2f} of the least sampled error ({loose.box}); no sampled "
            "start of a certified box lies outside of its bounds."
        )
    return sentences


_LIMITS = (
    "The proof that a tube which passes the checks implies these bounds is on paper "
    "(docs/certificates.md) and has not been peer reviewed.",
    "Numbers rest on the checker, python -m ssmbias.certify.check, and on Arb's ball arithmetic "
    "under it. A second checker, in outward-rounded float64 and sharing no code with the first, "
    "has accepted every certified file too. The prover need not be trusted.",
    "Gradient flow is certified, not gradient descent, in the setting of Theorem 1: only the "
    "diagonal A is trained, the teacher is one-dimensional, and lags 0 to 19 are compared.",
    "A box that is not certified is not refuted: the method may be too coarse for it.",
)
