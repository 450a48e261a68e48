"""found_rows: found, with the published penalty by rows of the image."""

from __future__ import annotations

from ssmbias.poison.arms.arm import Arm, Words
from ssmbias.poison.settings import Experiment


def _lacks(experiment: Experiment) -> str:
    return "" if hasattr(experiment.task, "planes") else "needs colour images"


ARM = Arm(
    Words(
        "found_rows",
        "found, with the published penalty by rows of the image",
        "the published weighting, which is none of positions",
    ),
    order=11,
    make=lambda bench: bench.search("rows"),
    carrier="found",
    weighting="rows",
    lacks=_lacks,
)
