"""A replay against what the original recorded: which differences rounding explains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ssmbias.dynamics import Outcome
from ssmbias.evidence import Verdict

# Steady runs: what another order of sums amounts to (an independent replay of the same starts
# stayed within these).
_STEPS, _LOSS, _ERROR = 2.0, 0.05, 0.01
# Which side of an oscillation the logged step sees is decided by rounding, hence by the processor.
# A run is steady if the change of sides uses up less than half of the tolerance of its error.
_SWING = _ERROR / 2
# Other runs: so many standard deviations of the difference of two draws. The deviation is that of
# nine replays times a few steps each, which are correlated: taken for eight degrees of freedom,
# Student's t exceeds 4 with probability 0.4 % on both sides together.
_DEVIATIONS = 4.0
# An interval wider than this (a fraction of the steps; logarithms of loss and error; a fraction of
# the largest entry) confirms nothing, and what lies inside it is not judged, unless it agrees as
# closely as in a steady run. Late losses of Adam differ by orders of magnitude.
_WIDEST = {"steps_to_eps": 0.02, "train_loss": np.log(100.0), "test_error": np.log(3.0)}
_WIDEST_PATH = 0.25


class Replayed(NamedTuple):
    """What is compared; leading axes for several runs.

    Attributes:
      outcome: an `Outcome` code of phase 1.
      steps_to_eps: updates in phase 1.
      train_loss, test_error: at the last logging step.
      a_logged: |a| in descending order at the logged steps of both phases.
      steps_logged: updates of its phase before each entry; the second phase counts anew.
      tail_loss, tail_error: loss and test error at the last logging step and in a few steps more.
    """

    outcome: Any
    steps_to_eps: Any
    train_loss: Any
    test_error: Any
    a_logged: Any
    steps_logged: Any
    tail_loss: Any
    tail_error: Any


class Comparison(NamedTuple):
    """One quantity: replayed, recorded, their difference and what it may be.

    `within` is `None` where the quantity is not judged, because its tolerance says too little.
    """

    quantity: str
    replayed: float
    original: float
    difference: float
    tolerance: float
    derivation: str
    within: bool | None


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

    Runs of "sgd*" must agree within ±2 steps, and steady ones within 5 % of the training loss and
    1 % of the test error. Where the iterate oscillates (in single *and* in double precision) and
    under Adam, last digits decide: there the recorded value must lie in the prediction interval of
    all replays at hand and of their next few steps (four standard deviations, of logarithms for
    losses and errors), or within the tolerance of steady runs where that is wider. A quantity
    whose interval is too wide to confirm anything is listed and not judged; steps and |a| must be
    judged for a run to hold.

    Args:
      run: the replay in single precision.
      double: the replay in double precision, one more of the copies.
      copies: replays with other last bits, [copy, ...].
      reference: the recorded values; `None` where there are none.
      optimizer: "sgd*" or "adam".

    Returns:
      The rows, the verdict, and the reason unless it holds.
    """
    if reference["steps_to_eps"] is None:
        return (), Verdict.INCONCLUSIVE, "the original's trajectory was not exported"
    for name, one in (("the replay", run), ("the replay in double precision", double)):
        if int(one.outcome) != Outcome.CONVERGED:
            why = Outcome(int(one.outcome)).explanation
            return (), Verdict.INCONCLUSIVE, f"{name} did not reach eps: {why}"
    reached = np.asarray(copies.outcome) == Outcome.CONVERGED
    copies = Replayed(*(np.asarray(x)[reached] for x in copies))
    oscillating = all(
        is_oscillating(one.tail_loss, _SWING) or is_oscillating(one.tail_error, _SWING)
        for one in (run, double)
    )
    steady = optimizer == "sgd*" and not oscillating
    num_copies = int(reached.sum())
    if not steady and num_copies < 2:
        return (
            (),
            Verdict.INCONCLUSIVE,
            "the run is not steady: its tolerances need num_copies >= 2",
        )

    def spread(pick: Callable[[Replayed], Any], logarithmic: bool) -> float:
        """Standard deviation over all replays and, where there is one, all of their tails."""
        values = np.concatenate([np.ravel(pick(r)) for r in (run, double, copies)]).astype(float)
        return float(np.std(np.log(values) if logarithmic else values, ddof=1))

    def row(quantity: str, key: str, floor: float, deviation: float, strict: bool) -> Comparison:
        replayed, original = float(getattr(run, key)), float(reference[key])
        widest = _WIDEST[key]
        if key == "steps_to_eps":
            difference, widest = abs(replayed - original), max(floor, widest * original)
        else:
            quantity, floor = f"{quantity} (logarithm)", float(np.log1p(floor))
            difference = abs(float(np.log(replayed / original)))
        # Both the replay and the original are draws: their difference has twice the variance.
        tolerance = floor if strict else max(floor, _DEVIATIONS * np.sqrt(2.0) * deviation)
        why = "steady run" if strict else "not steady, but within the tolerance of a steady run"
        if tolerance > floor:
            why = f"spread of {num_copies + 2} replays"
        within = _judged(difference, floor, tolerance, widest)
        return Comparison(quantity, replayed, original, difference, tolerance, why, within)

    deviations = (
        spread(lambda r: r.steps_to_eps, False),
        spread(lambda r: r.tail_loss, True),
        spread(lambda r: r.tail_error, True),
    )
    rows = (
        # What oscillates late in phase 2 has no bearing on phase 1.
        row("steps to eps", "steps_to_eps", _STEPS, deviations[0], optimizer == "sgd*"),
        row("train loss", "train_loss", _LOSS, deviations[1], steady),
        row("test error", "test_error", _ERROR, deviations[2], steady),
        _trajectory_row(run, copies, reference, steady),
    )
    outside = [r for r in rows if r.within is False]
    if outside:
        reason = "; ".join(
            f"{r.quantity}: {r.replayed:.6g} against {r.original:.6g}, difference "
            f"{r.difference:.2g} > {r.tolerance:.2g}"
            for r in outside
        )
        return rows, Verdict.VIOLATED, reason
    wide = [r.quantity for r in rows if r.within is None]
    reason = f"not judged, since rounding alone moves it too far: {', '.join(wide)}" if wide else ""
    if rows[0].within is None or rows[-1].within is None:
        return rows, Verdict.INCONCLUSIVE, reason
    return rows, Verdict.HOLDS, reason


def _judged(difference: float, floor: float, tolerance: float, widest: float) -> bool | None:
    """Within the tolerance or not; `None` where neither would mean anything."""
    if difference <= floor:
        return True
    return None if tolerance > widest else difference <= tolerance


def _clock(steps: np.ndarray) -> np.ndarray:
    """Steps with the phase in front, so that entries of two logs can be matched."""
    phase = np.concatenate([[0], np.cumsum(np.diff(steps) < 0)])
    return phase * np.int64(1 << 40) + np.asarray(steps, np.int64)


def _trajectory_row(
    run: Replayed, copies: Replayed, reference: dict[str, Any], steady: bool
) -> Comparison:
    """|a| at the steps that both have logged: the largest difference, relative to the top entry."""
    _, mine, theirs = np.intersect1d(
        _clock(run.steps_logged), _clock(reference["steps_logged"]), return_indices=True
    )
    replayed, original = run.a_logged[mine], reference["a_logged"][theirs]
    scale = float(np.max(original))
    gaps = np.max(np.abs(replayed - original), axis=1) / scale
    spread = np.zeros_like(gaps)
    if len(copies.a_logged) > 1:
        spread = np.max(np.std(copies.a_logged[:, mine], axis=0, ddof=1), axis=1) / scale
    # 1 % of the largest entry or, where runs are unsteady, the interval of the copies.
    allowed = np.full_like(gaps, _ERROR)
    if not steady:
        allowed = np.maximum(allowed, _DEVIATIONS * np.sqrt(2.0) * spread)
    worst = int(np.argmax(gaps / allowed))
    source = "1 % of the largest entry" if allowed[worst] == _ERROR else "spread of the copies"
    return Comparison(
        f"|a| at logged steps ({len(mine)} of {len(reference['a_logged'])} in both)",
        float(replayed[worst, 0]),
        float(original[worst, 0]),
        float(gaps[worst]),
        float(allowed[worst]),
        source,
        _judged(float(gaps[worst]), _ERROR, float(allowed[worst]), _WIDEST_PATH),
    )
