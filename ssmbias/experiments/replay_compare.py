"""A replay against what the original recorded: which differences rounding explains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ssmbias.claims import Verdict

# Runs whose loss still falls steadily when they are stopped: what issues with another order of
# sums can amount to (an independent replay of the same starts stayed within these).
_STEPS, _LOSS, _ERROR = 2.0, 0.05, 0.01
# Prediction interval of one more run from n copies: mean ± this many standard deviations. Student's
# t for 7 degrees of freedom exceeds 4 with probability 0.5 %.
_DEVIATIONS = 4.0


class Replayed(NamedTuple):
    """What is compared; leading axes for several runs.

    Attributes:
      steps_to_eps: updates in phase 1.
      train_loss, test_error: at the last logging step.
      a_logged: |a| in descending order at the logged steps.
      tail_loss, tail_error: loss and test error at the last logging step and in a few steps more.
    """

    steps_to_eps: Any
    train_loss: Any
    test_error: Any
    a_logged: Any
    tail_loss: Any
    tail_error: Any


class Comparison(NamedTuple):
    """One quantity: replayed, recorded, their difference and what it may be."""

    quantity: str
    replayed: float
    original: float
    difference: float
    tolerance: float
    derivation: str
    within: bool


def is_oscillating(tail: np.ndarray, tolerance: float) -> bool:
    """Whether consecutive values go up and down by more than a relative tolerance.

    The step of "sgd*" grows as gradients vanish, until the iterate jumps to and fro across the
    valley at every step; entries of a log, an even number of steps apart, need not show it.

    Example:
      >>> is_oscillating(np.array([4.0, 3.0, 2.0]), 0.01), is_oscillating(np.array([4, 1, 4]), 0.01)
      (False, True)
    """
    moves = np.diff(np.log(np.asarray(tail, dtype=np.float64)))
    return bool(np.any(moves > tolerance) and np.any(moves < -tolerance))


def compare(
    run: Replayed, double: Replayed, copies: Replayed, reference: dict[str, Any], optimizer: str
) -> tuple[tuple[Comparison, ...], Verdict, str]:
    """Compare a replay with the recorded run.

    Steady runs of "sgd*" must agree within ±2 steps, 5 % of the training loss and 1 % of the test
    error. Where the iterate oscillates, and under Adam, last digits decide: there the recorded
    value must lie in the prediction interval of all replays at hand and of their next few
    steps (four standard deviations, of logarithms for losses and errors), or within the tolerance
    of steady runs where that is wider.

    Args:
      run: the replay in single precision.
      double: the replay in double precision, one more of the copies.
      copies: replays with other last bits, [copy, ...].
      reference: the recorded values; empty if there are none.
      optimizer: "sgd*" or "adam".

    Returns:
      The rows, the verdict, and the reason unless it holds.
    """
    if not reference:
        return (), Verdict.INCONCLUSIVE, "the original's trajectory was not exported"
    oscillating = is_oscillating(run.tail_loss, _ERROR) or is_oscillating(run.tail_error, _ERROR)
    steady = optimizer == "sgd*" and not oscillating
    num_copies = len(copies.steps_to_eps)
    if not steady and num_copies < 2:
        return (
            (),
            Verdict.INCONCLUSIVE,
            "the run is not steady: its tolerances need num_copies >= 2",
        )

    def pooled(pick: Callable[[Replayed], Any]) -> np.ndarray:
        """All replays, and where there is a tail all of it."""
        return np.concatenate([np.ravel(pick(r)) for r in (run, double, copies)]).astype(float)

    def row(quantity: str, replayed: Any, key: str, floor: float, spread: float) -> Comparison:
        original = float(reference[key])
        if key == "steps_to_eps":
            difference = abs(float(replayed) - original)
        else:
            floor = float(np.log1p(floor))
            difference = abs(float(np.log(float(replayed) / original)))
            quantity = f"{quantity} (logarithm)"
        # Both the replay and the original are draws: their difference has twice the variance.
        interval = _DEVIATIONS * np.sqrt(2.0) * spread
        tolerance = floor if steady else max(floor, interval)
        why = "steady run" if steady else "not steady, but within the tolerance of a steady run"
        if tolerance > floor:
            why = f"spread of {num_copies + 2} replays"
        return Comparison(
            quantity, float(replayed), original, difference, tolerance, why, difference <= tolerance
        )

    steps = pooled(lambda r: r.steps_to_eps)
    loss, error = (np.log(pooled(pick)) for pick in (lambda r: r.tail_loss, lambda r: r.tail_error))
    rows = (
        row("steps to eps", run.steps_to_eps, "steps_to_eps", _STEPS, float(np.std(steps, ddof=1))),
        row("train loss", run.train_loss, "train_loss", _LOSS, float(np.std(loss, ddof=1))),
        row("test error", run.test_error, "test_error", _ERROR, float(np.std(error, ddof=1))),
        _trajectory_row(run, copies, reference["a_logged"], steady),
    )
    outside = [r for r in rows if not r.within]
    if not outside:
        return rows, Verdict.HOLDS, ""
    reason = "; ".join(
        f"{r.quantity}: {r.replayed:.6g} against {r.original:.6g}, difference {r.difference:.2g} "
        f"> {r.tolerance:.2g}"
        for r in outside
    )
    return rows, Verdict.VIOLATED, reason


def _trajectory_row(
    run: Replayed, copies: Replayed, original: np.ndarray, steady: bool
) -> Comparison:
    """|a| at all logged steps: the largest difference, relative to the largest entry."""
    quantity = "|a| at logged steps"
    if run.a_logged.shape != original.shape:
        shapes = f"shapes {run.a_logged.shape} and {original.shape} differ"
        return Comparison(quantity, np.nan, np.nan, np.inf, 0.0, shapes, False)
    scale = float(np.max(original))
    gaps = np.max(np.abs(run.a_logged - original), axis=1) / scale
    spread = np.zeros_like(gaps)
    if len(copies.a_logged) > 1:
        spread = np.max(np.std(copies.a_logged, axis=0, ddof=1), axis=1) / scale
    # At each step: 1 % of the largest entry, or the interval of the copies where runs are unsteady.
    allowed = np.full_like(gaps, _ERROR)
    if not steady:
        allowed = np.maximum(allowed, _DEVIATIONS * np.sqrt(2.0) * spread)
    worst = int(np.argmax(gaps / allowed))
    return Comparison(
        quantity,
        float(run.a_logged[worst, 0]),
        float(original[worst, 0]),
        float(gaps[worst]),
        float(allowed[worst]),
        "1 % of the largest entry" if allowed[worst] == _ERROR else "spread of the copies",
        bool(gaps[worst] <= allowed[worst]),
    )
