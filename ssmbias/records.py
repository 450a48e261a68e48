"""Writing what a run found: evidence as JSON, arrays as npz, provenance; never half a file."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ssmbias._files import SCHEMA, write_atomically
from ssmbias.claims import Assumption, Claim, Evidence, Fit, Kind, Runs, Verdict
from ssmbias.config import VerifyConfig

_PACKAGES = (
    "ssmbias", "jax", "jaxlib", "diffrax", "optimistix", "equinox", "lineax", "optax", "flax",
    "numpy", "scipy",
)  # fmt: skip


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON; numbers that are not finite become null."""
    text = json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as a compressed npz file without pickles."""
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))  # pyright: ignore[reportArgumentType]


def evidence_to_json(row: Evidence) -> dict[str, Any]:
    """One row as it stands in `results.json`."""
    plain = dataclasses.asdict(row)
    runs = plain.pop("runs")
    return plain | {
        "num_runs": runs["number"],
        "num_unconverged": runs["unconverged"],
        "unconverged": runs["reason"],
    }


def evidence_from_json(row: Mapping[str, Any]) -> Evidence:
    """Rebuild evidence from `results.json`; null numbers become nan."""

    def number(key: str) -> float:
        return math.nan if row[key] is None else float(row[key])

    fit = row["fit"]
    return Evidence(
        claim=row["claim"],
        setting=row["setting"],
        kind=Kind(row["kind"]),
        quantity=row["quantity"],
        predicted=number("predicted"),
        measured=number("measured"),
        residual=number("residual"),
        tolerance=number("tolerance"),
        derivation=row["derivation"],
        verdict=Verdict(row["verdict"]),
        reason=row["reason"],
        assumptions=tuple(Assumption(**a) for a in row["assumptions"]),
        fit=None if fit is None else Fit(**fit),
        margin=row["margin"],
        runs=Runs(row["num_runs"], row["num_unconverged"], row["unconverged"]),
        control_rejected=row["control_rejected"],
    )


def results(
    config: VerifyConfig,
    claims: Sequence[Claim],
    evidence: Sequence[Evidence],
    started: str,
    seconds: float,
) -> dict[str, Any]:
    """The content of `results.json` (docs/results-schema.md)."""
    counts = {verdict.value: 0 for verdict in Verdict}
    for row in evidence:
        counts[row.verdict.value] += 1
    return {
        "schema": SCHEMA,
        "started": started,
        "seconds": seconds,
        "versions": versions(),
        "git_commit": git_commit(),
        "hardware": hardware(),
        "config": dataclasses.asdict(config),
        "claims": {
            claim.id: {
                "title": claim.title,
                "statement": claim.statement,
                "kind": claim.kind.value,
                "assumptions": list(claim.assumptions),
                "reference": claim.reference,
                "control": claim.control,
            }
            for claim in claims
        },
        "evidence": [evidence_to_json(row) for row in evidence],
        "summary": counts,
    }


def fingerprint(config: Any, ignored_rooms: tuple[str, ...] = ()) -> str:
    """Identifies what a stored result depends on: configuration (a dataclass) and software.

    Subpackages in `ignored_rooms` do not count: results that they take no part in outlive them.
    """
    parts = {
        "config": dataclasses.asdict(config),
        "versions": versions(),
        "hardware": hardware(),
        "code": _code_hash(ignored_rooms),
    }
    return hashlib.sha256(json.dumps(_plain(parts), sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}


def hardware() -> dict[str, Any]:
    """Where the numbers were computed."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def git_commit() -> str | None:
    """The commit of the checkout that the package runs from, or `None` outside of one."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        commit = _output([*git, "rev-parse", "HEAD"])
        changed = _output([*git, "status", "--porcelain", "--untracked-files=no"])
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _output(command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return run.stdout.strip()


def _code_hash(ignored_rooms: tuple[str, ...] = ()) -> str:
    """Digest of the package's own source, so that stored evidence does not outlive a change."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] in ignored_rooms:
            continue
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Values that JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value
