"""Runs of the paper's own code, as they were exported: starts, data, settings, trajectories."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

_SSM_KEYS = ("A0", "B0", "C0", "train_inputs", "train_outputs", "ext_outputs")
_HYPERPARAMETERS = (
    "base_lr", "beta", "soft_const", "eps", "epochs", "epochs_after_opt", "log_period", "fix_B_C",
)  # fmt: skip


class OriginalRun(NamedTuple):
    """One exported run.

    Attributes:
      name: such as "poison_ssm_len6_d10_seed200_special".
      start: initial parameters by name: a, b, c, and D0, D1, D2 with a network on top (float32).
      inputs: training sequences.
      outputs: their labels.
      test_inputs: test sequences; `None` for the one-hot ones.
      test_outputs: their labels.
      optimizer: "sgd*" (the adaptive step) or "adam".
      base_step, decay, soft: of the adaptive step; the first one also Adam's step.
      eps: training loss at which phase 1 ends.
      max_steps: budget of phase 1.
      extra_steps: updates of phase 2.
      log_every: updates between two entries of the log.
      fixed_bc: whether b and c are reset to 1 after every step.
      stored: everything in the file under its own name; what the original recorded begins with
        `run_`, and is not in every file.
    """

    name: str
    start: dict[str, Float[np.ndarray, "..."]]
    inputs: Float[np.ndarray, "sample seq"]
    outputs: Float[np.ndarray, " sample"]
    test_inputs: Float[np.ndarray, "test test_seq"] | None
    test_outputs: Float[np.ndarray, " test"]
    optimizer: str
    base_step: float
    decay: float
    soft: float
    eps: float
    max_steps: int
    extra_steps: int
    log_every: int
    fixed_bc: bool
    stored: dict[str, np.ndarray]


def load_original(path: str | Path) -> OriginalRun:
    """Read one exported run.

    Args:
      path: a `.npz` file in the format of `tests/data/replays`.

    Returns:
      The run.

    Raises:
      ValueError: the file is missing, unreadable, or not an exported training run; the message
        names the file and what it lacks.

    Example:
      >>> load_original("no/such/file.npz")
      Traceback (most recent call last):
      ...
      ValueError: path='no/such/file.npz': no such file; give an exported run (.npz)
    """
    if not isinstance(path, str | Path):
        raise ValueError(f"path={path!r}: expected the path of an exported run (.npz)")
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"path={str(path)!r}: no such file; give an exported run (.npz)")
    if not zipfile.is_zipfile(file):
        raise ValueError(f"path={str(path)!r}: not a readable archive of arrays (.npz)")
    try:
        # Opened here, because np.load leaves a file open that it cannot read.
        with file.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            stored = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as err:
        raise ValueError(
            f"path={str(path)!r}: not a readable archive of plain arrays ({err})"
        ) from err
    needed = [*_SSM_KEYS, *(f"hp_{name}" for name in _HYPERPARAMETERS), "optimizer", "name"]
    missing = [name for name in needed if name not in stored]
    if missing:
        raise ValueError(
            f"path={str(path)!r}: lacks {', '.join(missing)}, so this is no exported training run; "
            "files whose names begin with theory_ are flows of Theorem 1 (ssmbias.verify)"
        )
    return _run(stored, file)


def _run(stored: dict[str, np.ndarray], file: Path) -> OriginalRun:
    def number(name: str) -> Any:
        return stored[f"hp_{name}"].item()

    start = {
        "a": stored["A0"].reshape(-1),
        "b": stored["B0"].reshape(-1),
        "c": stored["C0"].reshape(-1),
    }
    start |= {name: stored[name] for name in ("D0", "D1", "D2") if name in stored}
    adaptive = bool(number("adaptive")) if "hp_adaptive" in stored else True
    optimizer = str(stored["optimizer"])
    kinds = {("SGD", True): "sgd*", ("Adam", False): "adam"}
    if (optimizer, adaptive) not in kinds:
        raise ValueError(
            f"path={str(file)!r}: optimizer {optimizer!r} with adaptive={adaptive}: only SGD with "
            "the adaptive step and Adam without it are known"
        )
    inputs = stored["train_inputs"][..., 0]
    test_inputs = stored["ext_inputs"][..., 0] if "ext_inputs" in stored else None
    return OriginalRun(
        name=str(stored["name"]),
        start=start,
        inputs=inputs,
        outputs=stored["train_outputs"].reshape(-1),
        test_inputs=test_inputs,
        test_outputs=stored["ext_outputs"].reshape(-1),
        optimizer=kinds[optimizer, adaptive],
        base_step=float(number("base_lr")),
        decay=float(number("beta")),
        soft=float(number("soft_const")),
        eps=float(number("eps")),
        max_steps=int(number("epochs")),
        extra_steps=int(number("epochs_after_opt")),
        log_every=int(number("log_period")),
        fixed_bc=bool(number("fix_B_C")),
        stored=stored,
    )
