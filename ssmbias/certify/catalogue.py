"""Boxes by name: those that the prover is measured on, with the bounds it has to reach.

The starts T7 (κ = 7, d = 10) and T9 (κ = 9, d = 20) are those of the package's reference runs of
Theorem 1 (seeds 242, 243, 342, 344): the entries a_2..a_d as drawn, and the leading gap from its
formula, so that it keeps its digits. Other boxes are `default_box`. The bounds of a case are those
of a first prover of this kind (clean error rounded up, poisoned error rounded down); d = 100 has
none.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ssmbias.certify.box import Box, box_around, default_box

__all__ = ["CASES", "STARTS", "Case", "KnownStart", "start_box"]


class KnownStart(NamedTuple):
    """A start of a reference run.

    Attributes:
      seq_len: κ.
      delta: a_1 - a_2.
      entries: a_2..a_d, as drawn.
    """

    seq_len: int
    delta: float
    entries: tuple[float, ...]


class Case(NamedTuple):
    """A box with what is to be proved about it.

    Attributes:
      name: unique.
      box: the starts.
      seq_len: κ.
      strength: ρ.
      clean_error: the clean error / d is to be proved to be at most this.
      poisoned_error: and the poisoned error / d at least this.
      sampled: the least poisoned error / d of five integrations from the box, which prove nothing.
    """

    name: str
    box: Box
    seq_len: int
    strength: float
    clean_error: float
    poisoned_error: float
    sampled: float

    @property
    def target(self) -> float:
        """Below this bound of the poisoned error / d the box is split.

        Four fifths of the least sampled error (and a digit more, as that is rounded) where gaps are
        within 30 %; 0, so that one tube will do, for wider boxes and where nothing was sampled.

        Example:
          >>> {case.name: case.target for case in CASES[2:4]}
          {'k7d10 rel 0.3': 0.0273..., 'k7d10 rel 0.4': 0.0}
        """
        widths = ((b - a) / (b + a) for a, b in zip(*self.box.gaps, strict=True))
        narrow = max(widths) < 0.3 + 1e-9  # a width of 0.3 with its rounding
        return 0.801 * self.sampled if narrow and math.isfinite(self.sampled) else 0.0


Bounds = tuple[float, float, float]

_DELTA_T7 = 0.05 * math.exp(-15)
_DELTA_T9 = 0.05 * math.exp(-10 * math.log10(200))

STARTS: dict[str, KnownStart] = {
    "T7 seed 242": KnownStart(
        7,
        _DELTA_T7,
        (
            0.0008398268540602432,
            0.0006475740186203213,
            0.0006257353918909581,
            0.0005797291554248445,
            0.0003368075737904839,
            0.00016049761003611573,
            0.00010748699850593879,
            6.300883109095334e-05,
            5.520411137679004e-05,
        ),
    ),
    "T7 seed 243": KnownStart(
        7,
        _DELTA_T7,
        (
            0.0008156857311749518,
            0.0007326639024429769,
            0.0006068988941023535,
            0.00044586233839611847,
            0.0004042799854546346,
            0.00034602901010586594,
            0.00031762355739606155,
            0.00020763536920209935,
            0.0001343923302107738,
        ),
    ),
    "T9 seed 342": KnownStart(
        9,
        _DELTA_T9,
        (
            0.004671404249810401,
            0.00414623589742071,
            0.0041115710976556506,
            0.003549650095036537,
            0.0030543511321497103,
            0.003035887626413483,
            0.002884179358127806,
            0.002162673062945934,
            0.0018810886321224756,
            0.0018677684092384184,
            0.0018521086928394881,
            0.001789259024334261,
            0.0016045565252172413,
            0.0013026616980267058,
            0.0011548364314803827,
            0.0011093981757820204,
            0.00037457778326427274,
            0.00032517198420964566,
            0.0002040165333735733,
        ),
    ),
    "T9 seed 344": KnownStart(
        9,
        _DELTA_T9,
        (
            0.004997987953101884,
            0.003966111897343914,
            0.0038468577610356386,
            0.003578769446582721,
            0.003525387179943198,
            0.003480397277392399,
            0.0028794952965141584,
            0.0024631358919484547,
            0.0021633576252591507,
            0.0016701263753159034,
            0.0015694291761590578,
            0.0015157731345658931,
            0.001469122021875441,
            0.0013350506628623355,
            0.001157781533831893,
            0.001123985088111753,
            0.0005944098039548635,
            0.00046378745445543824,
            9.219523380642692e-05,
        ),
    ),
}
"""Reference starts of Theorem 1 by name."""


def start_box(name: str, rel: float = 0.1) -> Box:
    """The box around a reference start: D_j (1 ± rel), δ ± 5 %, a_2 ± 0.2 %.

    Args:
      name: one of `STARTS`.
      rel: relative half width of the gaps.
    """
    start = STARTS[name]
    a2, *rest = start.entries
    return box_around(a2, start.delta, [a2 - x for x in rest], rel=rel)


def _default(name: str, seq_len: int, dim: int, bounds: Bounds, **box: object) -> Case:
    strength = float(box.pop("strength", 1.0))  # type: ignore[arg-type]
    return Case(name, default_box(dim, **box), seq_len, strength, *bounds)  # type: ignore[arg-type]


def _around(name: str, rel: float, bounds: Bounds) -> Case:
    box = start_box(name, rel)
    return Case(f"{name} rel {rel}", box, STARTS[name].seq_len, 1.0, *bounds)


_NEAR = (1.5e-8, 1.6e-8)

CASES: tuple[Case, ...] = (
    _default("k7d10 rel 0.1", 7, 10, (0.00209, 0.0338, 0.0376), rel=0.1, delta=_NEAR),
    _default("k7d10 rel 0.2", 7, 10, (0.00214, 0.0287, 0.0360), rel=0.2, delta=_NEAR),
    _default("k7d10 rel 0.3", 7, 10, (0.00218, 0.0246, 0.0341), rel=0.3, delta=_NEAR),
    _default("k7d10 rel 0.4", 7, 10, (0.00224, 0.0164, 0.0321), rel=0.4, delta=_NEAR),
    _default("k7d10 rel 0.5", 7, 10, (0.0023, 0.0086, 0.0297), rel=0.5, delta=_NEAR),
    _default("k7d10 wide delta", 7, 10, (0.00298, 0.0368, 0.0460), rel=0.2, delta=(2e-9, 8e-9)),
    _default(
        "k7d10 scale 1e-4",
        7,
        10,
        (0.000259, 0.0278, 0.0407),
        scale=1e-4,
        rel=0.3,
        delta=(5e-10, 1e-9),
    ),
    _default(
        "k7d10 scale 1e-6",
        7,
        10,
        (2.59e-06, 0.0283, 0.0407),
        scale=1e-6,
        rel=0.3,
        delta=(5e-12, 1e-11),
    ),
    _default("k7d5", 7, 5, (0.00321, 0.0971, 0.1160), rel=0.4, delta=_NEAR),
    _default("k7d4", 7, 4, (0.00405, 0.1607, 0.1796), rel=0.4, delta=(1e-8, 1.1e-8)),
    _default("k7d3", 7, 3, (0.00594, 0.2784, 0.2897), rel=0.5, delta=(5e-9, 5.5e-9)),
    _default("k7d20", 7, 20, (0.0023, 0.0169, 0.0218), rel=0.25, delta=(1e-9, 1.1e-9)),
    _default("k9d10", 9, 10, (0.00259, 0.0593, 0.0684), rel=0.3, delta=(1e-11, 1.1e-11)),
    _default("k9d20 rel 0.2", 9, 20, (0.0019, 0.0161, 0.0200), rel=0.2, delta=(5e-12, 6e-12)),
    _default("k9d20 rel 0.3", 9, 20, (0.00194, 0.0139, 0.0192), rel=0.3, delta=(5e-12, 6e-12)),
    _default("k11d10", 11, 10, (0.00345, 0.0827, 0.0835), rel=0.2, delta=(1e-15, 2e-15)),
    _default("k5d10", 5, 10, (0.000954, 0.0907, 0.0917), scale=1e-4, rel=0.2, delta=(1e-8, 1.1e-8)),
    _default(
        "k7d10 strength 0.1", 7, 10, (0.00214, 0.0301, 0.0384), strength=0.1, rel=0.2, delta=_NEAR
    ),
    _default(
        "k7d10 strength 10", 7, 10, (0.00214, 0.0284, 0.0355), strength=10.0, rel=0.2, delta=_NEAR
    ),
    _around("T7 seed 242", 0.1, (0.00125, 0.0434, 0.0469)),
    _around("T7 seed 242", 0.2, (0.0013, 0.0388, 0.0452)),
    _around("T7 seed 243", 0.1, (0.00128, 0.0394, 0.0436)),
    _around("T7 seed 243", 0.2, (0.00132, 0.0351, 0.0418)),
    _default(
        "k7d10 scale 1e-4 delta decade",
        7,
        10,
        (0.000342, 0.0260, 0.0407),
        scale=1e-4,
        rel=0.3,
        delta=(1e-10, 1e-9),
    ),
    _default("k7d50", 7, 50, (0.00245, 0.0091, 0.0109), rel=0.2, delta=(2e-11, 2.2e-11)),
    _around("T9 seed 342", 0.1, (0.00761, 0.0337, 0.0347)),
    _around("T9 seed 344", 0.1, (0.00808, 0.0340, 0.0350)),
    _default("k7d100", 7, 100, (0.00229, 0.0048, math.inf), rel=0.1, delta=(2e-12, 2.2e-12)),
)
"""The boxes to be certified, by default within a few seconds each (d = 100: half a minute)."""
