"""Claims: a prediction paired with a simulation, a tolerance and a verdict."""

from __future__ import annotations

from ssmbias.claims.evidence import (
    Assumption,
    Claim,
    Evidence,
    Fit,
    Kind,
    Runs,
    Verdict,
    judge,
)
from ssmbias.claims.laboratory import Laboratory
from ssmbias.claims.registry import all_claims, check_claim, select_claims

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
