"""random: random perturbations of the size of the found ones, on the same carriers."""

from __future__ import annotations

from ssmbias.poison.arms.arm import Arm, Words, needs_carrier

ARM = Arm(
    Words(
        "random",
        "random perturbations of the size of the found ones",
        "size",
        example="random",
        verdict_if_unbeaten="no harm beyond a random perturbation",
    ),
    order=10,
    make=lambda bench: bench.random_like("found"),
    needs=("found",),
    carrier="found",
    lacks=needs_carrier,
)
