"""Claims: a prediction paired with a simulation, a tolerance and a verdict."""

from __future__ import annotations

from ssmbias.evidence.evidence import (
    Assumption,
    Claim,
    Evidence,
    Fit,
    Kind,
    Runs,
    Verdict,
    judge,
)
from ssmbias.evidence.registry import all_claims, check_claim, select_claims
from ssmbias.subjects.laboratory import Laboratory

__all__ = [
    "Assumption",
    "Claim",
    "Evidence",
    "Fit",
    "Kind",
    "Laboratory",
    "Runs",
    "Verdict",
    "all_claims",
    "check_claim",
    "judge",
    "select_claims",
]
