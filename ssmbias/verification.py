"""The main job: check claims in settings, and record the evidence."""

from __future__ import annotations

import datetime
import json
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ssmbias.config import DEFAULT_STRENGTHS, SETTINGS, Setting, VerifyConfig
from ssmbias.core.checks import require_x64
from ssmbias.evidence import Claim, Evidence, Laboratory, check_claim, select_claims
from ssmbias.evidence.records import evidence_from_json, evidence_to_json, results
from ssmbias.runs.files import ARRAYS_FILE, RESULTS_FILE, write_arrays, write_json
from ssmbias.runs.fingerprint import fingerprint

Progress = Callable[[int, int, str], None]
"""Called with (checks done, checks in all, what comes next)."""


def verify(
    claims: str | Sequence[str] = "all",
    settings: str | Setting | Sequence[str | Setting] = ("t7", "t9"),
    num_seeds: int = 16,
    *,
    strengths: Sequence[float] = DEFAULT_STRENGTHS,
    rtol: float = 1e-10,
) -> list[Evidence]:
    """Check claims about Theorem 1 by simulation.

    Args:
      claims: ids such as "M1-limit", prefixes such as "M1", or "all".
      settings: names ("t7": κ=7, d=10; "t9": κ=9, d=20) or `ssmbias.config.Setting`s.
      num_seeds: starts for each setting.
      strengths: poison strengths ρ >= 0 for the claims about ρ.
      rtol: tolerance of one step of the integrator.

    Returns:
      Evidence, claim by claim within each setting; `.verdict` is "holds", "violated" or
      "inconclusive", and `.residual` is to be compared with `.tolerance`.

    Raises:
      ValueError: an unknown claim or setting, an impossible number, or double precision is off.

    Example:
      >>> evidence = verify("M4", "t7", num_seeds=2)
      >>> [(row.claim, row.verdict.value) for row in evidence]
      [('M4', 'holds')]
    """
    names = [claims] if isinstance(claims, str) else list(claims)
    chosen = list(settings) if isinstance(settings, list | tuple) else [settings]
    config = VerifyConfig(
        settings=tuple(_setting(s) for s in chosen),
        claims=tuple(names),
        num_seeds=num_seeds,
        strengths=tuple(strengths) if isinstance(strengths, Sequence) else (strengths,),
        rtol=rtol,
    )
    return run_verification(config)


def run_verification(
    config: VerifyConfig, run_dir: Path | None = None, progress: Progress | None = None
) -> list[Evidence]:
    """Check what a configuration asks for; with a folder, record it and resume.

    Each check's evidence is written to `run_dir/checks` when it is done. A run that was killed
    goes on where it was when it is started again with the same folder, configuration and code.
    At the end `results.json` and `arrays.npz` hold everything.

    Args:
      config: the job.
      run_dir: folder for results; `None` keeps them in memory only.
      progress: called before each check and at the end.

    Returns:
      The evidence.

    Raises:
      ValueError: an unknown claim, or double precision is off.
    """
    selected = check_input(config)
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    clock = time.perf_counter()
    # The whole configuration, so that a change of any number starts afresh.
    mark = fingerprint(config)
    total = len(selected) * len(config.settings)
    evidence: list[Evidence] = []
    arrays: dict[str, np.ndarray] = {}
    done = 0
    for setting in config.settings:
        lab = Laboratory(setting, config.num_seeds, config.strengths, config.rtol)
        for claim in selected:
            if progress:
                progress(done, total, f"{claim.id} in {setting.name}")
            rows, saved = _check_or_load(claim, lab, run_dir, mark)
            evidence += rows
            arrays |= saved
            done += 1
    if progress:
        progress(done, total, "done")
    if run_dir is not None:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_arrays(run_dir / ARRAYS_FILE, arrays)
        seconds = time.perf_counter() - clock
        write_json(run_dir / RESULTS_FILE, results(config, selected, evidence, started, seconds))
    return evidence


def check_input(config: VerifyConfig) -> list[Claim]:
    """The claims that a configuration selects, after all that can be wrong with it is ruled out.

    Raises:
      ValueError: an unknown claim, a gap that leaves some seed's start out of order, or double
        precision is off.
    """
    require_x64("verify")
    for setting in config.settings:
        _ = Laboratory(setting, config.num_seeds, config.strengths, config.rtol).starts
    return select_claims(config.claims)


def _check_or_load(
    claim: Claim, lab: Laboratory, run_dir: Path | None, mark: str
) -> tuple[list[Evidence], dict[str, np.ndarray]]:
    """One claim in one setting: from an earlier, interrupted run, or afresh."""
    base = None if run_dir is None else run_dir / "checks" / f"{lab.setting.name}-{claim.id}"
    if base is not None:
        stored = _load(base, mark)
        if stored is not None:
            return stored
    lab.arrays.clear()
    rows = check_claim(claim, lab)
    arrays = dict(lab.arrays)
    if base is not None:
        base.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(base.with_name(f"{base.name}.npz"), arrays)
        # Written last: its presence says that the pair is complete.
        stored = {"fingerprint": mark, "evidence": [evidence_to_json(row) for row in rows]}
        write_json(base.with_name(f"{base.name}.json"), stored)
    return rows, arrays


def _load(base: Path, mark: str) -> tuple[list[Evidence], dict[str, np.ndarray]] | None:
    """Stored evidence if it is whole and belongs to this configuration and code."""
    try:
        stored = json.loads(base.with_name(f"{base.name}.json").read_text())
        if stored["fingerprint"] != mark:
            return None
        rows = [evidence_from_json(row) for row in stored["evidence"]]
        with np.load(base.with_name(f"{base.name}.npz"), allow_pickle=False) as file:
            return rows, dict(file)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _setting(setting: object) -> Setting:
    if isinstance(setting, Setting):
        return setting
    if not isinstance(setting, str) or setting not in SETTINGS:
        raise ValueError(f"settings={setting!r}: choose from {', '.join(SETTINGS)}")
    return SETTINGS[setting]
