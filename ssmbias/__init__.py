"""ssmbias: theory about the implicit bias of structured state space models, checked by simulation.

Everything that is verified is computed in float64: set JAX_ENABLE_X64=1, or call
``jax.config.update("jax_enable_x64", True)`` before the first array is made. Importing the
package changes nothing.
"""

from __future__ import annotations

from ssmbias import (
    claims,
    config,
    data,
    dynamics,
    experiments,
    metrics,
    models,
    poison,
    sweeps,
    theory,
)
from ssmbias.dynamics import (
    descend,
    gradient_descent,
    gradient_flow,
    simulate_theorem1,
    theorem1_limit,
)
from ssmbias.experiments import replay
from ssmbias.metrics import effective_rank, generalization_error
from ssmbias.sweeps import open_sweep, sweep
from ssmbias.verification import verify

__version__ = "0.1.0"

__all__ = [
    "claims",
    "config",
    "data",
    "descend",
    "dynamics",
    "effective_rank",
    "experiments",
    "generalization_error",
    "gradient_descent",
    "gradient_flow",
    "metrics",
    "models",
    "open_sweep",
    "poison",
    "replay",
    "simulate_theorem1",
    "sweep",
    "sweeps",
    "theorem1_limit",
    "theory",
    "verify",
]
