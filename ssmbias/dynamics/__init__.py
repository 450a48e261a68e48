"""Simulation: gradient flow by independent integrators, its limits, and gradient descent."""

from __future__ import annotations

from ssmbias.dynamics.adaptive_step import adaptive_step
from ssmbias.dynamics.descent import (
    DescentConfig,
    DescentLog,
    DescentResult,
    descend,
    gradient_descent,
)
from ssmbias.dynamics.flow import FlowConfig, FlowResult, gradient_flow
from ssmbias.dynamics.keras_adam import keras_adam
from ssmbias.dynamics.limit import LimitConfig, LimitResult, theorem1_limit
from ssmbias.dynamics.theorem1_flow import Theorem1Config, Theorem1Result, simulate_theorem1
from ssmbias.dynamics.trajectory import Outcome, Trajectory

__all__ = [
    "DescentConfig",
    "DescentLog",
    "DescentResult",
    "FlowConfig",
    "FlowResult",
    "LimitConfig",
    "LimitResult",
    "Outcome",
    "Theorem1Config",
    "Theorem1Result",
    "Trajectory",
    "adaptive_step",
    "descend",
    "gradient_descent",
    "gradient_flow",
    "keras_adam",
    "simulate_theorem1",
    "theorem1_limit",
]
