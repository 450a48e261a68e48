"""The main job: pairs claims with subjects, checks, records, reports, and goes on after a kill.

`verify` is the way in from Python; the program of the same name reads `job`.
"""

from __future__ import annotations

from ssmbias.verification.api import verify
from ssmbias.verification.pairing import Verification, plan
from ssmbias.verification.run import Progress, run_verification

__all__ = ["Progress", "Verification", "plan", "run_verification", "verify"]
