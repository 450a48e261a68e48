"""Units of work of a reproduction: each is computed once, stored whole, and found again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.dynamics import Outcome, simulate_theorem1
from ssmbias.metrics import effective_rank, generalization_error
from ssmbias.models import reference_start
from ssmbias.paper.protocol import run_arm
from ssmbias.paper.replay import ReplayResult, replay
from ssmbias.paper.settings import ARMS, find_experiment, shortened
from ssmbias.runs.files import write_arrays, write_json
from ssmbias.runs.fingerprint import fingerprint
from ssmbias.subjects import SETTINGS

THEOREM1 = tuple(f"theorem1_{name}" for name in SETTINGS)
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class CellJob:
    """One arm of one experiment over many seeds by the library's protocol.

    Attributes:
      experiment: a name in `EXPERIMENTS`, or "theorem1_t7", "theorem1_t9".
      arm: 0 clean, 1 poisoned.
      num_seeds: how many seeds.
      converge: whether to go on to convergence.
      most_extra_steps: bound on the second phase, for reduced runs; `None` for the paper's.
    """

    experiment: str
    arm: int
    num_seeds: int
    converge: bool = True
    most_extra_steps: int | None = None

    @property
    def label(self) -> str:
        """Name of the unit, and of its file."""
        return f"{self.experiment}-{ARMS[self.arm]}"


@dataclass(frozen=True)
class ReplayJob:
    """One replay of an exported run; `content` tells files of one name apart."""

    path: str
    content: str

    @property
    def label(self) -> str:
        """Name of the unit, and of its file."""
        return f"replay-{Path(self.path).stem}-{self.content[:8]}"


def replay_job(path: str) -> ReplayJob:
    """The unit of an exported run, by what is in the file."""
    return ReplayJob(path, hashlib.sha256(Path(path).read_bytes()).hexdigest())


Job = CellJob | ReplayJob


def run_job(job: Job, folder: Path | None) -> Arrays:
    """The arrays of a unit: from the folder if it is there, whole and current, else afresh.

    Args:
      job: what to compute.
      folder: where finished units are kept; `None` keeps nothing.

    Returns:
      Arrays by name; those of a replay include `summary`, plain values as JSON.
    """
    base = None if folder is None else folder / job.label
    mark = fingerprint(job, __name__)
    if base is not None:
        stored = _load(base, mark)
        if stored is not None:
            return stored
    arrays = _replay_arrays(job) if isinstance(job, ReplayJob) else _cell_arrays(job)
    if base is not None:
        base.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(base.with_suffix(".npz"), arrays)
        # Written last: its presence says that the arrays are whole.
        write_json(base.with_suffix(".json"), {"fingerprint": mark, "job": job})
    return arrays


def _load(base: Path, mark: str) -> Arrays | None:
    try:
        if json.loads(base.with_suffix(".json").read_text())["fingerprint"] != mark:
            return None
        # Opened here, because np.load leaves a file open that it cannot read.
        with base.with_suffix(".npz").open("rb") as file:
            return dict(np.load(file, allow_pickle=False))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _cell_arrays(job: CellJob) -> Arrays:
    if job.experiment in THEOREM1:
        return _theorem1_arrays(job)
    experiment = find_experiment(job.experiment)
    if job.most_extra_steps is not None:
        experiment = shortened(experiment, job.most_extra_steps)
    return run_arm(experiment, job.arm, job.num_seeds, converge=job.converge)


def _theorem1_arrays(job: CellJob) -> Arrays:
    """Theorem 1's flow from uniform starts; it ends at convergence, so both ends agree."""
    setting = SETTINGS[job.experiment.removeprefix("theorem1_")]
    starts, seeds, seed = [], [], setting.first_seed
    while len(starts) < job.num_seeds:
        # Some seeds have their third entry within the gap: another pair would be tied.
        with contextlib.suppress(ValueError):
            starts.append(reference_start(seed, setting.state_dim, setting.init_scale, setting.gap))
            seeds.append(seed)
        seed += 1
    a0 = jnp.stack([jnp.asarray(start.a) for start in starts])
    log_gap = jnp.array([start.log_gap for start in starts])
    run = jax.vmap(
        lambda a, gap: simulate_theorem1(a, setting.seq_len, float(job.arm), log_gap=gap)
    )(a0, log_gap)
    error = jax.vmap(lambda a: generalization_error(a, setting.horizon))(run.a)
    return {
        "seed": np.array(seeds),
        "outcome": np.asarray(run.outcome),
        "train_loss": np.asarray(run.loss),
        "test_error": np.asarray(error),
        "a": np.asarray(run.a),
        "converged_outcome": np.asarray(run.outcome),
        "converged_loss": np.asarray(run.loss),
        "converged_error": np.asarray(error),
    }


def _replay_arrays(job: ReplayJob) -> Arrays:
    result = replay(job.path)
    rank = jax.vmap(effective_rank)(jnp.asarray(result.a_logged, jnp.float64))
    arrays = {
        "a": result.a_logged,
        "step": result.steps_logged,
        "gamma0": result.gamma_logged[:, 0],
        "rank": np.asarray(rank),
        "summary": np.array(json.dumps(replay_summary(result))),
    }
    reference = result.reference
    if reference["a_logged"] is not None:
        gammas = np.concatenate([reference["run_p1_gammas"], reference["run_p2_gammas"]])
        arrays |= {
            "original_a": reference["a_logged"],
            "original_gamma0": gammas[:, 0],
            "original_step": reference["steps_logged"],
            "original_eps": np.array(reference["steps_to_eps"]),
        }
    return arrays


def replay_summary(result: ReplayResult) -> dict[str, Any]:
    """The plain values of a replay, for tables."""
    double = {
        name: float(np.ravel(getattr(result.double, name))[0])
        for name in ("steps_to_eps", "train_loss", "test_error")
    }
    return {
        "name": result.name,
        "steps_to_eps": result.steps_to_eps,
        "train_loss": result.train_loss,
        "test_error": result.test_error,
        "outcome": Outcome(result.outcome).name.lower(),
        "double": double,
        "verdict": result.verdict.value,
        "reason": result.reason,
        "comparisons": [
            {k: (bool(v) if isinstance(v, np.bool_) else v) for k, v in row._asdict().items()}
            for row in result.comparisons
        ],
    }
