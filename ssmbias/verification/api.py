"""The main job as a function: claims, ours or yours, checked on subjects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssmbias.evidence import Claim
from ssmbias.report.evidence_list import EvidenceList
from ssmbias.report.progress import shown
from ssmbias.subjects import Theorem1
from ssmbias.verification.pairing import plan
from ssmbias.verification.run import run_verification


def verify(
    claims: str | Path | Claim | Sequence[str | Path | Claim] = "all",
    subjects: Any = None,
    num_seeds: int | None = None,
    *,
    settings: str | Theorem1 | Sequence[str | Theorem1] | None = None,
    strengths: Sequence[float] | None = None,
    rtol: float = 1e-10,
    progress: bool = False,
    folder: str | Path | None = None,
) -> EvidenceList:
    """Check claims by simulation: ours, your own, or both.

    Args:
      claims: ids such as "M1-limit", prefixes such as "M1", families such as "identities", "all",
        paths of files that define `CLAIMS`, or `ssmbias.evidence.Claim`s.
      subjects: what they are to be checked on, frozen dataclasses with a name; "t7" (κ=7, d=10)
        and "t9" (κ=9, d=20) stand for the settings of the paper and all that belongs to them.
        `None` takes both, and the subjects of the files. Each claim is checked on those
        subjects that it speaks of.
      num_seeds: starts for each setting; 16 if nothing else is said.
      settings: the same as `subjects` for settings of Theorem 1, by name or as
        `ssmbias.subjects.Theorem1`, with all that belongs to them.
      strengths: poison strengths ρ >= 0 for the claims about ρ.
      rtol: tolerance of one step of the integrator.
      progress: whether a bar shows how far the checks are.
      folder: where checks are kept as they finish, with results, figures and report at the end;
        the same call goes on in the folder of a run that was killed.

    Returns:
      Evidence, subject by subject; `.verdict` is "holds", "violated" or "inconclusive", and
      `.residual` is to be compared with `.tolerance`. The list shows itself as a table, and has
      `.to_dataframe()` and `.write_report(folder)`.

    Raises:
      ValueError: an unknown claim or setting, an impossible number, a claim with no subject to
        check it on, or double precision is off.

    Example:
      >>> evidence = verify("M4", "t7", num_seeds=2)
      >>> [(row.claim, row.verdict.value) for row in evidence]
      [('M4', 'holds')]
    """
    found = plan(
        claims,
        subjects,
        settings=settings,
        changes={"num_seeds": num_seeds, "strengths": strengths},
        rtol=rtol,
    )
    target = None if folder is None else Path(folder)
    with shown(progress) as tell:
        evidence = run_verification(found, target, tell)
    if target is not None:
        evidence.write_report(target)
    return evidence
