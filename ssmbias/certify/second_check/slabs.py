r"""The tests of the tube's slabs, T1 to T5, and what its limits give: many slabs at once.

A slab is a range [E_k, E_{k+1}] with a start box s and an end box t of (g, w, mu); the faces of
the tube are linear in E between them. docs/certificates.md, "The tube" and "Bounds on the faces",
has the proofs. Arrays are [slab, face, piece, j] or leave out axes from the right of these.

With z_j = a_j/a_2 = 1 - mu_j e, e = E/a_2 and P(z) = 1 + z + ... + z^(p-1), the rates are

    dg/dE = (g/E)(P(1 + g e)/A - 1),    dmu_j/dE = (mu_j/E)(P(z_j)/A - 1),
    dw/dE = (S_p - rho d w/q)/(a_2^(p-1) A E),    A = sum(mu_j P(z_j))/d.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .average import LEAST_Z, Average, average, geometric_sum, multipliers, steepest
from .bounds import (
    Entry,
    Model,
    first_two,
    geometric_cuts,
    limit_bounds,
    may_hold_limits,
    others,
    power_sum,
    spread,
)
from .interval import Interval, interval, total

_LIMIT_PIECES = 128
_BLOCK = 2**16


class Slabs(NamedTuple):
    """Slabs of one log: E at both ends, the boxes (g, w, mu as in the log) and the hints.

    Attributes:
      from_, to: shape [slab].
      start, end: shape [slab, 2 (2 + n)], lower and upper bounds in turn.
      zeta: shape [slab, 2], the multiplier's hints for lower and upper bounds of A.
      cuts: shape [slab, 2], pieces of e and of g.
    """

    from_: np.ndarray
    to: np.ndarray
    start: np.ndarray
    end: np.ndarray
    zeta: np.ndarray
    cuts: np.ndarray

    def take(self, index: Any) -> Slabs:
        """Some of the slabs."""
        return Slabs(*(field[index] for field in self))


class Hull(NamedTuple):
    """The smallest box that holds both boxes of a slab: g, w of shape [slab], mu [slab, j]."""

    ratio: tuple[np.ndarray, np.ndarray]
    excess: tuple[np.ndarray, np.ndarray]
    mu: tuple[np.ndarray, np.ndarray]


def hull(slabs: Slabs) -> Hull:
    """The hull of every slab's start and end box."""
    low, high = np.minimum(slabs.start, slabs.end), np.maximum(slabs.start, slabs.end)
    return Hull((low[:, 0], high[:, 1]), (low[:, 2], high[:, 3]), (low[:, 4::2], high[:, 5::2]))


def simple_tests(slabs: Slabs, entries: Entry) -> list[tuple[str, np.ndarray]]:
    """T1 and T3: ordered bounds, and late trajectories enter inside. `entries` per slab."""
    tests = []
    for box, where in ((slabs.start, "start"), (slabs.end, "end")):
        ordered = np.all(box[:, 0::2] <= box[:, 1::2], axis=1)
        positive = (box[:, 0] > 0.0) & (box[:, 2] >= 0.0) & np.all(box[:, 4::2] > 0.0, axis=1)
        tests.append((f"T1: bounds of the {where} box in order and positive", ordered & positive))
        inside = (box[:, 0] <= entries.ratio[0]) & (box[:, 1] >= entries.ratio[1])
        inside &= box[:, 2] == 0.0
        inside &= np.all((box[:, 4::2] <= entries.mu_lo) & (box[:, 5::2] >= entries.mu_hi), axis=1)
        over = slabs.from_ > entries.scale[1]
        tests.append((f"T3: the {where} box holds the entry box and w = 0", over | inside))
    return tests


def _change(factor: Any, coordinate: tuple[Any, Any], slabs: Slabs) -> Interval:
    """(factor - 1) (coordinate/E) times the slab's length, for a factor known exactly."""
    axes = (slice(None),) + (None,) * (np.ndim(coordinate[0]) - 1)
    from_, to = slabs.from_[axes], slabs.to[axes]
    over = Interval((interval(coordinate[0]) / to).lo, (interval(coordinate[1]) / from_).hi)
    return (interval(factor) - 1.0) * over * (interval(to) - from_)


class Face(NamedTuple):
    """A face of many slabs: T4 holds where it moves out faster than any trajectory.

    Attributes:
      name: for messages.
      upper: whether it bounds its coordinate from above.
      moves: by how much it moves over the slab, shape [slab].
      bound: a bound of (rate on the face) (length of the slab), from its own side.
      waived: where no trajectory can leave through it anyway.
    """

    name: str
    upper: bool
    moves: Interval
    bound: np.ndarray
    waived: Any = False

    def test(self) -> tuple[str, np.ndarray]:
        """T4; a bound of nan fails."""
        ok = self.moves.lo > self.bound if self.upper else self.moves.hi < self.bound
        return f"T4: {'upper' if self.upper else 'lower'} face of {self.name}", ok | self.waived


def tube_tests(model: Model, slabs: Slabs, ne: int, ngw: int) -> list[tuple[str, np.ndarray]]:
    """T4 and T5 for slabs that share the numbers of pieces; named, each of shape [slab]."""
    tests, faces = tube_bounds(model, slabs, ne, ngw)
    return tests + [face.test() for face in faces]


def tube_bounds(
    model: Model, slabs: Slabs, ne: int, ngw: int
) -> tuple[list[tuple[str, np.ndarray]], list[Face]]:
    """The tests T5 and what T4 compares, for every face."""
    num = float(model.state_dim)
    ratio, excess, mu = hull(slabs)
    from_, to = slabs.from_[:, None], slabs.to[:, None]
    # Faces in turn: g upper, g lower, w upper, w lower, and the whole hull.
    faces = [
        (
            np.minimum(slabs.start[:, i], slabs.end[:, i]),
            np.maximum(slabs.start[:, i], slabs.end[:, i]),
        )
        for i in (1, 0, 3, 2)
    ]
    g_lo, g_hi = (np.stack(side, -1) for side in zip(*faces[:2], ratio, ratio, ratio, strict=True))
    w_lo, w_hi = (
        np.stack(side, -1) for side in zip(excess, excess, *faces[2:], excess, strict=True)
    )

    def e_at(scale: Any, g: Any, w: Any) -> Interval:
        return 1.0 / ((1.0 + interval(w)) / (num * interval(scale)) + (1.0 - interval(g) / num))

    e_lo, e_hi = e_at(from_, g_lo, w_hi).lo, e_at(to, g_hi, w_lo).hi
    mean = average(model, e_lo, e_hi, ne, mu, slabs.zeta)
    powers = _odd_power_sum(model, slabs, geometric_cuts(*ratio, ngw))
    tests = [
        ("T5: e = E/a_2 positive", (e_lo > 0.0).all(-1) & np.isfinite(e_hi).all(-1)),
        ("T5: z_j at least -5/4", np.all(mean.least_z >= LEAST_Z, axis=(1, 2, 3))),
        ("T5: A positive", np.all(mean.low > 0.0, axis=(1, 2))),
        ("T5: S_(kappa-2) positive", np.all(powers.lo > 0.0, axis=1)),
    ]
    bounds = _ratio_faces(model, slabs, faces, mean)
    if model.strength < np.inf:  # else w is no coordinate: it is 0 in every box
        bounds += _excess_faces(model, slabs, faces, mean, powers)
    return tests, bounds + (_mu_faces(model, slabs, mean) if model.state_dim > 3 else [])


def _moves(slabs: Slabs, index: Any) -> Interval:
    """By how much a face moves over its slab."""
    return interval(slabs.end[:, index]) - slabs.start[:, index]


def _ratio_faces(model: Model, slabs: Slabs, faces: list, mean: Average) -> list[Face]:
    power = model.seq_len - 2
    upper, lower = interval(faces[0][1][:, None]), interval(faces[1][0][:, None])
    rise = geometric_sum(1.0 + upper * mean.right[:, 0], power) / mean.low[:, 0]
    fall = geometric_sum(1.0 + lower * mean.left[:, 1], power) / mean.high[:, 1]
    rise = _change(rise.hi.max(-1), faces[0], slabs)
    fall = _change(fall.lo.min(-1), faces[1], slabs)
    return [
        Face("g", True, _moves(slabs, 1), rise.hi),
        Face("g", False, _moves(slabs, 0), fall.lo),
    ]


def _mu_faces(model: Model, slabs: Slabs, mean: Average) -> list[Face]:
    """The faces of every mu_j: its own term of A is held to the face, the others roam."""
    power, num = model.seq_len - 2, float(model.state_dim)
    left, right = mean.left[:, 4], mean.right[:, 4]
    below, above = multipliers(power, left, right, slabs.zeta)
    left, right, loss = left[..., None], right[..., None], mean.loss[:, 4, :, None]
    sums = spread(total(mean.terms_lo[:, 4])).lo, spread(total(mean.terms_hi[:, 4])).hi
    sides = []
    for first in (5, 4):
        ends = slabs.start[:, first::2], slabs.end[:, first::2]
        sides.append((np.minimum(*ends), np.maximum(*ends)))
    (upper_lo, upper_hi), (lower_lo, lower_hi) = [[s[:, None, :] for s in side] for side in sides]

    # Upper faces: P is convex, so largest at an end of the range of z.
    own = below.least(upper_lo, upper_hi)
    least = below.slope + ((interval(sums[0]) - mean.terms_lo[:, 4]) + own) / num - loss
    most = np.maximum(
        geometric_sum(1.0 - interval(upper_lo) * left, power).hi,
        geometric_sum(1.0 - interval(upper_hi) * right, power).hi,
    )
    rise = _change((interval(most) / interval(least.lo)).hi.max(1), sides[0], slabs)

    # Lower faces: P rises but for z < -1/2, where it falls by at most its steepest slope.
    own = above.largest(lower_lo, lower_hi)
    most = above.slope + ((interval(sums[1]) - mean.terms_hi[:, 4]) + own) / num + loss
    leftmost, rightmost = 1.0 - interval(lower_hi) * right, 1.0 - interval(lower_lo) * left
    falls = interval(steepest(leftmost.lo, power)) * (interval(rightmost.hi) - leftmost.lo)
    least = np.maximum((geometric_sum(leftmost, power) - falls.hi).lo, 0.0)  # P > 0 everywhere
    fall = _change((interval(least) / interval(most.hi)).lo.min(1), sides[1], slabs)

    bounds = []
    for j in range(model.state_dim - 2):
        name = f"mu_{j + 3}"
        bounds.append(Face(name, True, _moves(slabs, 5 + 2 * j), rise.hi[:, j]))
        bounds.append(Face(name, False, _moves(slabs, 4 + 2 * j), fall.lo[:, j]))
    return bounds


def _odd_power_sum(model: Model, slabs: Slabs, cuts: np.ndarray) -> Interval:
    """Bounds of S_(kappa-2) on pieces of g, entry by entry, over the hull of each slab."""
    _, excess, mu = hull(slabs)
    power = model.seq_len - 2
    scale = Interval(slabs.from_[:, None], slabs.to[:, None])
    place = (model, scale, Interval(cuts[:, :-1], cuts[:, 1:]), _column(excess))
    first, second = first_two(*place)
    rest = others(*place, Interval(mu[0][:, None, :], mu[1][:, None, :]))
    return first**power + second**power + total(rest**power)


def _column(sides: tuple[np.ndarray, np.ndarray]) -> Interval:
    return Interval(sides[0][:, None], sides[1][:, None])


def _excess_faces(
    model: Model, slabs: Slabs, faces: list, mean: Average, powers: Interval
) -> list[Face]:
    """The faces of w; S_(kappa-2) and q move against each other in g, hence its pieces."""
    ratio, _, mu = hull(slabs)
    num, even = float(model.state_dim), model.seq_len - 1
    cuts = geometric_cuts(*ratio, powers.lo.shape[1])
    mu_lo, mu_hi = mu[0][:, None, :], mu[1][:, None, :]
    from_, to = slabs.from_[:, None], slabs.to[:, None]
    length = interval(slabs.to) - slabs.from_
    pull = interval(model.strength) * num

    def per_rate(face: int) -> Interval:
        """a_2^(p-1) A E over the face."""
        scale = Interval(slabs.from_, slabs.to)
        _, second = first_two(model, scale, Interval(*ratio), Interval(*faces[face]))
        average_ = Interval(mean.low[:, face].min(-1), mean.high[:, face].max(-1))
        return second ** (model.seq_len - 3) * average_ * scale

    w = faces[2][0][:, None]
    most_q = (even * (1.0 - power_sum(model, from_, cuts[:, :-1], w, mu_lo, mu_hi, even))).hi
    none = most_q <= 0.0  # q > 0 holds nowhere on the piece: no trajectory is there
    bracket = (interval(powers.hi) - pull * w / interval(most_q)).hi
    bracket = np.where(none, -np.inf, bracket).max(-1)
    rise = interval(bracket) / per_rate(2) * length
    upper = Face("w", True, _moves(slabs, 3), rise.hi, none.all(-1))

    w = faces[3][1][:, None]
    least_q = (even * (1.0 - power_sum(model, to, cuts[:, 1:], w, mu_lo, mu_hi, even))).lo
    bracket = (interval(powers.lo) - pull * w / interval(least_q)).lo.min(-1)
    fall = interval(bracket) / per_rate(3) * length
    at_zero = (slabs.start[:, 2] == 0.0) & (slabs.end[:, 2] == 0.0)
    return [upper, Face("w", False, _moves(slabs, 2), fall.lo, at_zero)]


def limits(model: Model, slabs: Slabs) -> tuple[np.ndarray, float, float]:
    """Which slabs may hold a limit, and bounds of d*error over all their limits.

    The bounds are inf and -inf where no slab may hold one.
    """
    ratio, excess, mu = hull(slabs)
    corners = (slabs.from_, ratio[0]), (slabs.to, ratio[1])
    kept = (excess[0] <= 0.0) & may_hold_limits(model, *corners, *mu)
    low, high = np.inf, -np.inf
    step = max(1, _BLOCK // (_LIMIT_PIECES * (model.state_dim - 2)))
    which = np.flatnonzero(kept)
    for k in range(0, which.size, step):
        some = which[k : k + step]
        cuts = geometric_cuts(ratio[0][some], ratio[1][some], _LIMIT_PIECES)
        pieces = may_hold_limits(
            model,
            (slabs.from_[some, None], cuts[:, :-1]),
            (slabs.to[some, None], cuts[:, 1:]),
            *(side[some, None, :] for side in mu),
        )
        kept[some] = pieces.any(-1)
        row, piece = np.nonzero(pieces)
        at = some[row]
        lower, upper = limit_bounds(
            model,
            (slabs.from_[at], cuts[row, piece]),
            (slabs.to[at], cuts[row, piece + 1]),
            *(side[at] for side in mu),
        )
        low = np.min(lower, initial=low)
        high = np.max(upper, initial=high)
    return kept, float(low), float(high)
