"""Claims, the evidence for them, and the checker that pairs the two; knows no model.

A claim measures once and compares twice, with the right prediction and with a wrong one.
"""

from __future__ import annotations

from ssmbias.core.verdict import Verdict
from ssmbias.evidence.bench import Bench, Subject
from ssmbias.evidence.check import check
from ssmbias.evidence.claim import Claim, Figure, Premise, require_subject
from ssmbias.evidence.evidence import CheckedPremise, Count, Evidence, Kind, Row, judge
from ssmbias.evidence.laws import law_row
from ssmbias.statistics.fits import Fit

__all__ = [
    "Bench",
    "CheckedPremise",
    "Claim",
    "Count",
    "Evidence",
    "Figure",
    "Fit",
    "Kind",
    "Premise",
    "Row",
    "Subject",
    "Verdict",
    "check",
    "judge",
    "law_row",
    "require_subject",
]
