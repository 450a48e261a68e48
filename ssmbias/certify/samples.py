"""Trajectories from single starts of a box, to hold a certificate against. Nothing here is a proof.

The poisoned flow is integrated in time, with SciPy, in the coordinates w = S_1 - 1, ln δ, ln D_j:
gaps of 1e-12 keep their digits, and nothing of the prover's clock or tube is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ssmbias.certify.box import Box
from ssmbias.certify.prover.system import Slab

__all__ = ["Sample", "box_points", "clean_error", "follow", "outside", "poisoned_errors"]

HORIZON = 20
# ln δ moves by some twenty, so that 1e-10 of it is 2e-9; the limit's error is as exact as that.
_RTOL, _ATOL_LOG, _ATOL_W = 1e-10, 1e-12, 1e-17
_LATEST = 1e14
# Zero loss: 1 - S_{κ-1} down from 1.
_FITTED = 1e-11


class Sample(NamedTuple):
    """One trajectory of the poisoned flow, in the coordinates of docs/certificates.md.

    Attributes:
      error: error / d at its end.
      clock: E at each step, from the moment when w = 0.
      g: δ / E.
      mu: D_j / E.
      w: S_1 - 1.
    """

    error: float
    clock: Float[np.ndarray, " step"]
    g: Float[np.ndarray, " step"]
    mu: Float[np.ndarray, "step gap"]
    w: Float[np.ndarray, " step"]


def box_points(
    box: Box, num: int, seed: int
) -> list[tuple[float, float, Float[np.ndarray, " gap"]]]:
    """Starts (a_2, δ, D) of a box: two corners, then points at random, half of them on its faces.

    Args:
      box: the box.
      num: how many.
      seed: of the random points.

    Example:
      >>> from ssmbias.certify.box import default_box
      >>> [len(point[2]) for point in box_points(default_box(4), 3, seed=0)]
      [2, 2, 2]
    """
    rng = np.random.default_rng(seed)
    low = np.array([box.a2[0], box.delta[0], *box.gaps[0]])
    high = np.array([box.a2[1], box.delta[1], *box.gaps[1]])
    # The corners between which errors differ most: small δ with wide gaps, and the other way round.
    opposite = np.arange(len(low)) == 1
    points = [np.where(opposite, low, high), np.where(opposite, high, low)][:num]
    while len(points) < num:
        part = rng.uniform(size=len(low))
        if len(points) % 2:
            part = np.where(rng.uniform(size=len(low)) < 0.5, np.round(part), part)
        points.append(low + part * (high - low))
    return [(float(p[0]), float(p[1]), p[2:]) for p in points]


def follow(
    start: tuple[float, float, Float[np.ndarray, " gap"]], seq_len: int, strength: float
) -> Sample:
    """Integrate the poisoned flow from one start to zero loss.

    With q = (κ-1)(1 - S_{κ-1}), p = κ-2: w' = q S_p - ρ d w, and a gap between entries x and y
    grows at the rate q (x^p - y^p) / (x - y) of itself. In the limit ρ → ∞, w = 0 from the start,
    and ∫ q dt, which is finite, serves as the time.

    Args:
      start: a_2, δ and the gaps D_j.
      seq_len: κ.
      strength: ρ, or `inf` for the limit ρ → ∞.

    Raises:
      RuntimeError: zero loss was not reached.

    Example:
      >>> sample = follow((1e-3, 5e-9, np.array([5e-4])), seq_len=7, strength=1.0)
      >>> round(sample.error, 3), bool(sample.w[-1] < 1e-8)
      (0.323, True)
    """
    from scipy.integrate import solve_ivp  # noqa: PLC0415  (slow to import)

    a2, delta, gaps = start
    p, d = seq_len - 2, len(gaps) + 2
    strong = np.isinf(strength)

    def entries(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """a_1..a_d, and the gaps δ, D_j; of one state or of all, along the first axis."""
        gap = np.exp(y[1:])
        second = (1 + y[0] - gap[0] + gap[1:].sum(axis=0)) / d
        return np.concatenate([[second + gap[0]], [second], second - gap[1:]]), gap

    def rate(_: float, y: np.ndarray) -> np.ndarray:
        a, _gap = entries(y)
        q = 1.0 if strong else (seq_len - 1) * (1 - np.sum(a ** (seq_len - 1)))
        ratio = np.delete(a, 1) / a[1]
        logs = q * a[1] ** (p - 1) * np.polyval(np.ones(p), ratio)
        excess = 0.0 if strong else q * np.sum(a**p) - strength * d * y[0]
        return np.concatenate([[excess], logs])

    def loss(_: float, y: np.ndarray) -> float:
        return 1 - np.sum(entries(y)[0] ** (seq_len - 1)) - (0.0 if strong else _FITTED)

    loss.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
    w0 = 0.0 if strong else d * a2 + delta - gaps.sum() - 1
    done = solve_ivp(
        rate,
        (0.0, _LATEST),
        np.concatenate([[w0], np.log([delta, *gaps])]),
        method="LSODA",
        rtol=_RTOL,
        atol=[_ATOL_W] + [_ATOL_LOG] * (d - 1),
        events=loss,
    )
    if done.status != 1:
        raise RuntimeError(f"no zero loss by time {done.t[-1]:g}: {done.message}")
    a, gap = entries(done.y)
    clock = gap[1:].sum(axis=0) / d
    late = done.y[0] >= 0
    lags = np.arange(1, HORIZON)
    error = np.max(np.abs(np.sum(a[:, -1, None] ** lags, axis=0) - 1)) / d
    return Sample(
        float(error),
        clock[late],
        (gap[0] / clock)[late],
        (gap[1:] / clock).T[late],
        done.y[0][late],
    )


def poisoned_errors(box: Box, seq_len: int, strength: float, num: int, seed: int) -> list[Sample]:
    """Trajectories from `num` points of a box, see `box_points` and `follow`."""
    return [follow(point, seq_len, strength) for point in box_points(box, num, seed)]


def outside(sample: Sample, slabs: Sequence[Slab], *, tolerance: float = 1e-9) -> tuple[int, int]:
    """How many points of a trajectory lie outside a tube, and how many were compared.

    A point (E, g, μ, w) is inside if, for some slab that covers E, each coordinate lies between
    the slab's faces there, which are linear in E from the start box to the end box. Any slab will
    do: a forked tube, or one of a box that was cut, has several over the same E. A point whose E
    no slab covers is outside.

    Args:
      sample: the trajectory, from the moment when w = 0.
      slabs: a tube, as `Certificate.slabs` holds it.
      tolerance: how far beyond a face a point may be, as a part of the face's value: the error of
        the integration.

    Example:
      >>> from ssmbias.certify.prover.system import Cuts
      >>> box = np.array([[1.0, 0.0, 3.0], [2.0, 0.1, 3.0]])  # g, w, μ_3
      >>> slab = Slab((0.1, 0.2), box, box + [[0.0], [1.0]], Cuts(0.0, 0.0, 1, 1))
      >>> clock, mu, w = np.array([0.15, 0.15, 0.25]), np.full((3, 1), 3.0), np.zeros(3)
      >>> outside(Sample(0.0, clock, np.array([2.4, 2.6, 1.5]), mu, w), [slab])
      (2, 3)
    """
    inside = np.zeros(len(sample.clock), bool)
    if len(slabs) and len(inside):
        # E grows along a trajectory: the points in a slab are consecutive.
        spans = np.array([slab.span for slab in slabs])
        first = np.searchsorted(sample.clock, spans[:, 0], side="left")
        count = np.searchsorted(sample.clock, spans[:, 1], side="right") - first
        which = np.repeat(np.arange(len(slabs)), count)
        point = np.arange(len(which)) - np.repeat(np.cumsum(count) - count - first, count)
        start, end = (np.stack([getattr(x, k) for x in slabs]) for k in ("start", "end"))
        part = (sample.clock[point] - spans[which, 0]) / (spans[which, 1] - spans[which, 0])
        part = part[:, None, None]
        faces = (1 - part) * start[which] + part * end[which]
        state = np.column_stack([sample.g, sample.w, sample.mu])[point]
        slack = tolerance * np.abs(faces)
        held = (state >= faces[:, 0] - slack[:, 0]) & (state <= faces[:, 1] + slack[:, 1])
        inside[point[held.all(axis=1)]] = True
    return int(np.sum(~inside)), len(inside)


def clean_error(start: tuple[float, float, Float[np.ndarray, " gap"]], seq_len: int) -> float:
    """Error / d where the clean flow from one start ends, in floating point.

    The limit is a_i = (c_i + u)^{-1/(p-1)} with c_i = a_i(0)^{1-p} - a_1(0)^{1-p}, and u solves
    S_{κ-1} = 1. c_2 comes from δ without a difference of near-equal numbers.

    Args:
      start: a_2, δ and the gaps D_j.
      seq_len: κ.

    Example:
      >>> 1e-3 < clean_error((1e-3, 1.5e-8, np.linspace(1e-4, 5e-4, 8)), seq_len=7) < 3e-3
      True
    """
    from scipy.optimize import brentq  # noqa: PLC0415  (slow to import)

    a2, delta, gaps = start
    p, d = seq_len - 2, len(gaps) + 2
    # x^{1-p} - y^{1-p} over the leader's own power: expm1 and log1p keep the digits of the gap.
    leading = a2 + delta
    behind = np.concatenate([[delta], delta + gaps])
    c = leading ** (1 - p) * np.expm1((1 - p) * np.log1p(-behind / leading))

    def excess(u: float) -> float:
        powers = (np.concatenate([[0.0], c]) + u) ** (-(seq_len - 1) / (p - 1))
        return float(powers.sum() - 1)

    u = 1.0 if excess(1.0) <= 0 else brentq(excess, 1.0, float(d), xtol=1e-15)
    a = (np.concatenate([[0.0], c]) + u) ** (-1 / (p - 1))
    return float(np.max(np.abs(np.sum(a[:, None] ** np.arange(1, HORIZON), axis=0) - 1)) / d)
