"""Tables and figures of the paper's experiments: reported, replayed, and our own runs."""

from __future__ import annotations

from ssmbias.report.pages.experiments.dynamics import dynamics_figure, plot_replays, plot_seeds
from ssmbias.report.pages.experiments.findings import (
    FindingPanel,
    PairedErrors,
    findings_figure,
    plot_findings,
)
from ssmbias.report.pages.experiments.panels import DynamicsPanel, effective_rank
from ssmbias.report.pages.experiments.rows import OutcomeRow, OwnSummary, PairRow, tables_of

__all__ = [
    "DynamicsPanel",
    "FindingPanel",
    "OutcomeRow",
    "OwnSummary",
    "PairRow",
    "PairedErrors",
    "dynamics_figure",
    "effective_rank",
    "findings_figure",
    "plot_findings",
    "plot_replays",
    "plot_seeds",
    "tables_of",
]
