"""Simulation: gradient flow by independent integrators, its limits, and gradient descent."""

from __future__ import annotations

from ssmbias.dynamics.descent.adaptive_step import adaptive_step
from ssmbias.dynamics.descent.config import DescentConfig
from ssmbias.dynamics.descent.keras_adam import keras_adam
from ssmbias.dynamics.descent.result import DescentLog, DescentResult
from ssmbias.dynamics.descent.solve import descend, gradient_descent
from ssmbias.dynamics.flow.result import FlowConfig, FlowResult
from ssmbias.dynamics.flow.solve import gradient_flow
from ssmbias.dynamics.limit.solve import LimitConfig, LimitResult, theorem1_limit
from ssmbias.dynamics.theorem1.result import Theorem1Config, Theorem1Result
from ssmbias.dynamics.theorem1.solve import simulate_theorem1
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
