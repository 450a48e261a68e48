"""What a check can say: one verdict for claims, replays, poison and certificates."""

from __future__ import annotations

import enum


class Verdict(enum.StrEnum):
    """The outcome of a check; a finer label in words stands beside it where there is one.

    A claim, a replay or a certificate holds, is violated, or the check could not tell.

    Example:
      >>> Verdict("holds") is Verdict.HOLDS
      True
    """

    HOLDS = "holds"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"
