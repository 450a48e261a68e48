"""Predictions: what must hold at every point of a flow, and where flows end.

Nothing here simulates; `ssmbias.dynamics` does, and neither imports the other.
"""

from ssmbias.theory.clean import clean_limit
from ssmbias.theory.clean_path import clean_path, escape_time, escape_time_leading
from ssmbias.theory.descent import (
    DescentExpansion,
    balancedness_factor,
    descent_energy_rate,
    descent_expansion,
    distance_bound,
)
from ssmbias.theory.escape import (
    blowup_time,
    escape_exponent,
    escape_log_slope,
    first_lag,
    initial_force,
)
from ssmbias.theory.heads import head_omega, head_velocity
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
from ssmbias.theory.local import LocalRate, local_rate, response_jacobian, tangent_kernel
from ssmbias.theory.passage.collapse import passage_similarity
from ssmbias.theory.passage.law import (
    passage_error_exponent,
    passage_exponent,
    passage_onset,
    passage_ratio,
    passage_second_entry,
)
from ssmbias.theory.passage.map import (
    passage_defect,
    passage_end,
    passage_limit,
    passage_time,
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
    "DescentExpansion",
    "LocalRate",
    "balancedness",
    "balancedness_drift",
    "balancedness_factor",
    "balancedness_rate",
    "balancedness_residual",
    "blowup_time",
    "characterization_residual",
    "clean_limit",
    "clean_path",
    "descent_energy_rate",
    "descent_expansion",
    "distance_bound",
    "energy_rate",
    "energy_residual",
    "escape_exponent",
    "escape_log_slope",
    "escape_time",
    "escape_time_leading",
    "first_lag",
    "flow_velocity",
    "gamma_coefficients",
    "head_omega",
    "head_velocity",
    "initial_force",
    "local_rate",
    "log_gap_rate",
    "log_gap_residual",
    "omega_coefficients",
    "passage_defect",
    "passage_end",
    "passage_error_exponent",
    "passage_exponent",
    "passage_limit",
    "passage_onset",
    "passage_ratio",
    "passage_second_entry",
    "passage_similarity",
    "passage_time",
    "poison_bound",
    "poison_margin",
    "relative_residual",
    "response_jacobian",
    "strong_poison_limit",
    "tangent_kernel",
    "theorem1_residual",
    "theorem1_velocity",
    "tied_limit",
    "velocity_scale",
]
