"""Predictions: what must hold at every point of a flow, and where flows end.

Nothing here simulates; `ssmbias.dynamics` does, and neither imports the other.
"""

from ssmbias.theory.clean import clean_limit
from ssmbias.theory.clean_path import clean_path, escape_time, escape_time_leading
from ssmbias.theory.identities import (
    flow_velocity,
    gamma_coefficients,
    omega_coefficients,
    theorem1_velocity,
    velocity_scale,
)
from ssmbias.theory.invariants import (
    balancedness,
    balancedness_rate,
    energy_rate,
    log_gap_rate,
)
from ssmbias.theory.poison import strong_poison_limit, tied_limit
from ssmbias.theory.residuals import (
    balancedness_drift,
    balancedness_residual,
    characterization_residual,
    energy_residual,
    log_gap_residual,
    relative_residual,
    theorem1_residual,
)
from ssmbias.theory.theorem1 import poison_bound, poison_margin

__all__ = [
    "balancedness",
    "balancedness_drift",
    "balancedness_rate",
    "balancedness_residual",
    "characterization_residual",
    "clean_limit",
    "clean_path",
    "energy_rate",
    "energy_residual",
    "escape_time",
    "escape_time_leading",
    "flow_velocity",
    "gamma_coefficients",
    "log_gap_rate",
    "log_gap_residual",
    "omega_coefficients",
    "poison_bound",
    "poison_margin",
    "relative_residual",
    "strong_poison_limit",
    "theorem1_residual",
    "theorem1_velocity",
    "tied_limit",
    "velocity_scale",
]
