"""Reports: tables, figures and one HTML page, from the saved results of a run only."""

from __future__ import annotations

from ssmbias.report.figures import (
    dynamics_figure,
    effective_rank_figure,
    error_parity_figure,
    gamma0_figure,
    print_style,
    save_figures,
    strong_poison_figure,
)
from ssmbias.report.html import write_report
from ssmbias.report.results import load_results
from ssmbias.report.tables import to_latex, to_markdown, verdict_table

__all__ = [
    "dynamics_figure",
    "effective_rank_figure",
    "error_parity_figure",
    "gamma0_figure",
    "load_results",
    "print_style",
    "save_figures",
    "strong_poison_figure",
    "to_latex",
    "to_markdown",
    "verdict_table",
    "write_report",
]
