"""The report of a phase diagram: figures, a table, and a page in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssmbias.report.pages.phase.maps import save_phase_figures
from ssmbias.report.pages.phase.numbers import collapse_spread, gap_rows, reach_rows
from ssmbias.report.pages.phase.text import gap_table, report_text
from ssmbias.report.style import Arrays
from ssmbias.runs.files import write_atomically

__all__ = ["write_report"]

TABLE_FILE, TEXT_FILE = "phase_diagram.csv", "phase_diagram.md"


def write_report(arrays: Arrays, counts: Mapping[str, int], folder: Path) -> Path:
    """Draw the figures of a phase diagram, and write its table and its page.

    Args:
      arrays: as saved; see `ssmbias.sweeps.phase.diagram`.
      counts: points for each outcome.
      folder: which exists. Files: `phase_diagram.csv` and `.md`, and `phase_map`,
        `phase_collapse` and `phase_parting` as PNG and PDF.

    Returns:
      The page.
    """
    save_phase_figures(arrays, folder)
    rows = gap_rows(arrays)
    texts = {
        TABLE_FILE: gap_table(rows).csv(),
        TEXT_FILE: report_text(arrays, counts, rows, collapse_spread(arrays), reach_rows(arrays)),
    }
    for name, text in texts.items():
        write_atomically(
            folder / name, lambda stream, text=text: stream.write(text.encode("utf-8"))
        )
    return folder / TEXT_FILE
