"""Reports from saved results: one `Table`, one page builder, one figure style.

What is shown about a subject lives in `ssmbias.report.pages`, one file or folder a subject.
"""

from __future__ import annotations

from ssmbias.report.cells import Column
from ssmbias.report.evidence_list import EvidenceList
from ssmbias.report.page import write_page
from ssmbias.report.pages.verification import (
    dynamics_figure,
    effective_rank_figure,
    error_parity_figure,
    gamma0_figure,
    save_figures,
    strong_poison_figure,
    verdict_table,
    write_report,
)
from ssmbias.report.results import load_results
from ssmbias.report.style import print_style, save_figure
from ssmbias.report.table import Table, write_table

__all__ = [
    "Column",
    "EvidenceList",
    "Table",
    "dynamics_figure",
    "effective_rank_figure",
    "error_parity_figure",
    "gamma0_figure",
    "load_results",
    "print_style",
    "save_figure",
    "save_figures",
    "strong_poison_figure",
    "verdict_table",
    "write_page",
    "write_report",
    "write_table",
]
