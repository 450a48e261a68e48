"""The report of a poison experiment: tables of arms and controls, figures, and a page."""

from __future__ import annotations

from ssmbias.report.pages.poison.report import PoisonPage, Said, write_report
from ssmbias.report.pages.poison.rows import ArmRow, ControlRow, arm_rows, control_rows

__all__ = [
    "ArmRow",
    "ControlRow",
    "PoisonPage",
    "Said",
    "arm_rows",
    "control_rows",
    "write_report",
]
