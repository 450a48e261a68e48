"""Training data: sequences with weights, and the statistics that suffice for linear models."""

from __future__ import annotations

from ssmbias.data.lag_gram import (
    LagGram,
    gram_loss,
    gram_omega,
    lag_gram,
    require_targets,
    require_training_set,
    theorem1_gram,
)
from ssmbias.data.sequences import (
    TrainingSet,
    baseline_sequences,
    combine,
    gaussian_sequences,
    labels,
    require_strength,
    special_sequences,
    theorem1_training_set,
)

__all__ = [
    "LagGram",
    "TrainingSet",
    "baseline_sequences",
    "combine",
    "gaussian_sequences",
    "gram_loss",
    "gram_omega",
    "labels",
    "lag_gram",
    "require_strength",
    "require_targets",
    "require_training_set",
    "special_sequences",
    "theorem1_gram",
    "theorem1_training_set",
]
