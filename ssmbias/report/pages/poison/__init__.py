"""The report of a poison experiment: tables of arms and controls, figures, and a page."""

from __future__ import annotations

from ssmbias.report.pages.poison.report import PoisonPage, Words, write_report
from ssmbias.report.pages.poison.rows import ArmRow, ControlRow, arm_rows, control_rows

__all__ = [
    "ArmRow",
    "ControlRow",
    "PoisonPage",
    "Words",
    "arm_rows",
    "control_rows",
    "write_report",
]
