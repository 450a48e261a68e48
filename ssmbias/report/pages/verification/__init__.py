"""The report of a verification: the table of verdicts, figures, one section a claim."""

from __future__ import annotations

from ssmbias.report.pages.verification.errors import error_parity_figure, strong_poison_figure
from ssmbias.report.pages.verification.figures import plan_figures, save_figures
from ssmbias.report.pages.verification.report import write_report, write_report_of
from ssmbias.report.pages.verification.trajectories import (
    dynamics_figure,
    effective_rank_figure,
    gamma0_figure,
)
from ssmbias.report.pages.verification.verdicts import (
    FLOATS,
    evidence_records,
    headline,
    verdict_table,
)

__all__ = [
    "FLOATS",
    "dynamics_figure",
    "effective_rank_figure",
    "error_parity_figure",
    "evidence_records",
    "gamma0_figure",
    "headline",
    "plan_figures",
    "save_figures",
    "strong_poison_figure",
    "verdict_table",
    "write_report",
    "write_report_of",
]
