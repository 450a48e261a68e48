r"""Replays: the paper's runs again from their exported starts, in single and in double precision.

A replay follows the original to the letter: same start, same data, same optimiser, same order of
operations within a step (EXPERIMENTS of the paper; docs/experiments.md lists the rules). What
cannot be the same is the order of floating-point sums. How much that matters is measured: besides
the run itself a few copies are run whose inputs and labels differ in their last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from ssmbias.core.checks import require_int, require_x64
from ssmbias.dynamics import DescentConfig, DescentResult, Outcome, adaptive_step, keras_adam
from ssmbias.dynamics.descent.solve import descend_problem, general_problem
from ssmbias.evidence import Verdict
from ssmbias.paper import replay_loss
from ssmbias.paper.original import OriginalRun, load_original
from ssmbias.paper.replay_compare import Comparison, Replayed, compare

# Copies with other last bits, from which the effect of rounding is estimated.
_NUM_COPIES = 7
_COPY_SEED = 0
# The iterates from the last logging step on, in which oscillation shows.
_TAIL = DescentConfig(loss_tol=0.0, max_steps=10, log_every=1, max_logs=12)
_RECORDED = (
    "n_iter_phase1", "p1_evals", "p1_stamps", "p2_evals", "p2_stamps", "p2_train", "p2_ext",
)  # fmt: skip
# Log entries kept: longer runs keep every other one.
_MAX_LOGS = 2048


class ReplayResult(NamedTuple):
    """One run of the paper's code, replayed.

    Attributes:
      name: the run.
      steps_to_eps: updates until the training loss was at most eps (single precision).
      train_loss: training loss at the original's last logging step.
      test_error: test error there.
      a_logged: |a| in descending order at the logged steps of both phases [log, state].
      steps_logged: updates of its phase before each entry; the second phase counts anew.
      gamma_logged: the coefficients γ_l there [log, lag].
      outcome: how the first phase ended.
      double: steps, loss, error and |a| of the same run in double precision.
      copies: the same for the copies in single precision with other last bits, [copy, ...].
      reference: what the original recorded: `steps_to_eps`, `train_loss`, `test_error`,
        `a_logged`, `steps_logged` (`None` if that was not exported), and every array of the file
        under its own name.
      comparisons: one row for each compared quantity, with its tolerance and where that is from.
      verdict: "holds" if all that can be judged are within tolerance, "violated" if one is not,
        "inconclusive" if there is nothing to compare with or too little can be judged.
      reason: why, and what was not judged.
    """

    name: str
    steps_to_eps: int
    train_loss: float
    test_error: float
    a_logged: Float[np.ndarray, "log state"]
    steps_logged: np.ndarray
    gamma_logged: Float[np.ndarray, "log lag-1"]
    outcome: Outcome
    double: Replayed
    copies: Replayed
    reference: dict[str, Any]
    comparisons: tuple[Comparison, ...]
    verdict: Verdict
    reason: str


def replay(path: str | Path, *, num_copies: int = _NUM_COPIES) -> ReplayResult:
    r"""Run one of the paper's experiments again from its exported start, and compare.

    Phase 1 takes full-batch steps until the training loss of the updated weights is at most eps,
    phase 2 as many more as the original up to its last logging step; the printed results are
    those there. The step of "sgd*" is that of `adaptive_step` with the dense gradient of $A$.

    Args:
      path: an exported run, `.npz`, in the format of `tests/data/replays`.
      num_copies: further runs whose inputs and labels differ in their last bit; their spread is
        what rounding does to the run. 0 for none: oscillating runs are then inconclusive.

    Returns:
      The replay beside what the original recorded.

    Raises:
      ValueError: the file is missing, unreadable or no training run, or double precision is off.

    Example:
      >>> run = replay("tests/data/replays/poison_ssm_len6_d10_seed201_special.npz")
      >>> run.steps_to_eps, run.reference["steps_to_eps"], run.verdict.value
      (829, 829, 'holds')

    References:
      Slutzky et al. (2025), arXiv:2410.10473, experiments, and their published code.
    """
    require_x64("replay")
    num_copies = require_int("num_copies", num_copies, minimum=0)
    original = load_original(path)
    single, result = _run(original, jnp.float32, num_copies)
    double, _ = _run(original, jnp.float64, 0)
    first = jax.tree.map(lambda x: x[0], single)
    copies = jax.tree.map(lambda x: x[1:], single)
    reference = recorded(original)
    comparisons, verdict, reason = compare(
        first, jax.tree.map(lambda x: x[0], double), copies, reference, original.optimizer
    )
    steps, gamma = _logged(result, lambda value: value["gamma"])
    return ReplayResult(
        name=original.name,
        steps_to_eps=int(first.steps_to_eps),
        train_loss=float(first.train_loss),
        test_error=float(first.test_error),
        a_logged=first.a_logged,
        steps_logged=steps,
        gamma_logged=gamma[0],
        outcome=Outcome(int(result.outcome[0])),
        double=jax.tree.map(lambda x: x[0], double),
        copies=copies,
        reference=reference,
        comparisons=comparisons,
        verdict=verdict,
        reason=reason,
    )


def recorded(original: OriginalRun) -> dict[str, Any]:
    """Everything in the file, and what the original recorded under the names of `ReplayResult`.

    Args:
      original: the run.

    Returns:
      The arrays of the file under their own names; beside them `steps_to_eps`, `train_loss`,
      `test_error`, `a_logged` (descending) and `steps_logged` (updates before each entry: the
      file's stamps plus one), all `None` if the trajectory was not exported.
    """
    stored = original.stored
    names = ("steps_to_eps", "train_loss", "test_error", "a_logged", "steps_logged")
    if any(f"run_{name}" not in stored for name in _RECORDED):
        return {**stored, **dict.fromkeys(names)}
    evals = np.concatenate([stored["run_p1_evals"], stored["run_p2_evals"]])
    stamps = np.concatenate([stored["run_p1_stamps"], stored["run_p2_stamps"]])
    values = (
        int(stored["run_n_iter_phase1"]),
        float(stored["run_p2_train"][-1]),
        float(stored["run_p2_ext"][-1]),
        np.sort(np.abs(evals), axis=1)[:, ::-1],
        stamps.astype(np.int64) + 1,
    )
    return {**stored, **dict(zip(names, values, strict=True))}


def make_optimizer(original: OriginalRun) -> optax.GradientTransformation:
    """The optimiser of a run."""
    if original.optimizer == "adam":
        return keras_adam(original.base_step)
    return adaptive_step(original.base_step, decay=original.decay, soft=original.soft)


def _run(original: OriginalRun, dtype: Any, num_copies: int) -> tuple[Replayed, DescentResult]:
    """The run and its copies, [1 + copy, ...]."""
    start = {name: jnp.asarray(value, dtype) for name, value in original.start.items()}
    # The original's inputs were drawn in double and fed in single precision.
    by_lag = original.inputs[:, ::-1].astype(np.float32)
    outputs = original.outputs.astype(np.float32)
    rng = np.random.default_rng(_COPY_SEED)
    all_by_lag, all_outputs = [by_lag], [outputs]
    for _ in range(num_copies):
        all_by_lag.append(_other_last_bits(by_lag, rng))
        all_outputs.append(_other_last_bits(outputs, rng))
    data = replay_loss.ReplayData(
        jnp.asarray(np.stack(all_by_lag), dtype), jnp.asarray(np.stack(all_outputs), dtype)
    )
    steps_by = (
        replay_loss.gradient if original.optimizer == "sgd*" else None,
        replay_loss.reset_bc if original.fixed_bc else None,
    )
    problem = general_problem(replay_loss.loss, replay_loss.observe, *steps_by)
    # The same, with all parameters in the log.
    tail_problem = general_problem(replay_loss.loss, None, *steps_by)
    # The printed results are those of the last logging step: 1401 of 1500, 4901 of 5000.
    every = original.log_every
    config = DescentConfig(
        loss_tol=original.eps,
        max_steps=original.max_steps,
        extra_steps=(original.extra_steps - 1) // every * every + 1,
        log_every=every,
        log_offset=1,
        max_logs=_MAX_LOGS,
    )
    optimizer = make_optimizer(original)
    result = jax.vmap(lambda data: descend_problem(problem, start, data, optimizer, config=config))(
        data
    )
    tail = jax.vmap(
        lambda params, state, data: descend_problem(
            tail_problem,
            params,
            data,
            optimizer,
            optimizer_state=state,
            config=_TAIL,
        )
    )(result.model, result.optimizer_state, data)
    result = jax.tree.map(np.asarray, result)
    steps, logged = _logged(result, lambda value: np.sort(np.abs(value["a"]), axis=-1)[..., ::-1])
    tail_error = np.array(
        [
            [
                _test_error(
                    jax.tree.map(lambda x, i=i, k=k: x[i, k], tail.log.value), original, dtype
                )
                for k in range(_TAIL.max_steps)
            ]
            for i in range(1 + num_copies)
        ]
    )
    tail_loss = np.asarray(tail.log.loss)[:, : _TAIL.max_steps]
    lanes = 1 + num_copies
    return Replayed(
        outcome=result.outcome,
        steps_to_eps=result.steps_to_tol,
        train_loss=result.loss,
        test_error=tail_error[:, 0],
        a_logged=logged,
        steps_logged=np.broadcast_to(steps, (lanes, len(steps))),
        tail_loss=tail_loss,
        tail_error=tail_error,
    ), result


def _other_last_bits(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every number up or down by one unit in the last place; zeros stay."""
    towards = np.where(rng.random(values.shape) < 0.5, -np.inf, np.inf).astype(values.dtype)
    return np.where(values == 0, values, np.nextafter(values, towards))


def _logged(result: DescentResult, pick: Callable[[Any], np.ndarray]) -> tuple[np.ndarray, Any]:
    """Steps and observations of both phases, as far as the first lane got: [lane, log, ...]."""
    steps, values = [], []
    for log in (result.log, result.extra_log):
        assert log is not None
        kept = np.flatnonzero(log.recorded[0])
        steps.append(log.step[0][kept])
        values.append(pick(log.value)[:, kept])
    return np.concatenate(steps), np.concatenate(values, axis=1)


def _test_error(params: Any, original: OriginalRun, dtype: Any) -> float:
    """The original's test error: of 40 one-hot sequences, or of Gaussian ones with a network."""
    outputs = original.test_outputs
    if original.test_inputs is None:
        by_lag = np.eye(outputs.shape[0])[:, ::-1]
    else:
        by_lag = original.test_inputs[:, ::-1]
    difference = np.asarray(replay_loss.predict(params, jnp.asarray(by_lag, dtype))) - outputs
    if original.test_inputs is None:
        return float(np.max(np.abs(difference)) / np.max(np.abs(outputs)))
    return float(np.linalg.norm(difference) / np.linalg.norm(outputs))
