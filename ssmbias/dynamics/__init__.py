"""Simulation of gradient flow: two independent integrators."""

from __future__ import annotations

from ssmbias.dynamics.flow import FlowConfig, FlowResult, gradient_flow
from ssmbias.dynamics.theorem1_flow import Theorem1Config, Theorem1Result, simulate_theorem1
from ssmbias.dynamics.trajectory import Outcome, Trajectory

__all__ = [
    "FlowConfig",
    "FlowResult",
    "Outcome",
    "Theorem1Config",
    "Theorem1Result",
    "Trajectory",
    "gradient_flow",
    "simulate_theorem1",
]
