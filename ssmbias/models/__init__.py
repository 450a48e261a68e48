"""Students and teachers: diagonal state space models and their starts; layers of practice."""

from __future__ import annotations

from ssmbias.models.layers import lru, mamba2, s4d
from ssmbias.models.ssm import (
    METHODS,
    DiagonalSSM,
    apply,
    impulse_response,
    require_ssm,
    theorem1_student,
)
from ssmbias.models.starts import Start, random_start, reference_start
from ssmbias.models.teachers import paper_teacher, theorem1_teacher

__all__ = [
    "METHODS",
    "DiagonalSSM",
    "Start",
    "apply",
    "impulse_response",
    "lru",
    "mamba2",
    "paper_teacher",
    "random_start",
    "reference_start",
    "require_ssm",
    "s4d",
    "theorem1_student",
    "theorem1_teacher",
]
