"""ssmbias: theory about the implicit bias of structured state space models, checked by simulation.

Everything that is verified is computed in float64: set JAX_ENABLE_X64=1, or call
``jax.config.update("jax_enable_x64", True)`` before the first array is made. Importing the
package changes nothing, and loads nothing either: each name below is looked up when it is first
used, so that `python -m ssmbias.certify.check` needs neither JAX nor the code that it judges.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssmbias import (
        certify,
        claims,
        data,
        dynamics,
        evidence,
        metrics,
        models,
        paper,
        poison,
        statistics,
        subjects,
        sweeps,
        testing,
        theory,
    )
    from ssmbias.cli.multirun import open_multirun
    from ssmbias.dynamics import (
        descend,
        gradient_descent,
        gradient_flow,
        simulate_theorem1,
        theorem1_limit,
    )
    from ssmbias.metrics import effective_rank, generalization_error
    from ssmbias.paper import replay
    from ssmbias.sweeps import open_sweep, sweep
    from ssmbias.verification import verify

__version__ = "0.1.0"

__all__ = [
    "certify",
    "claims",
    "data",
    "descend",
    "dynamics",
    "effective_rank",
    "evidence",
    "generalization_error",
    "gradient_descent",
    "gradient_flow",
    "metrics",
    "models",
    "open_multirun",
    "open_sweep",
    "paper",
    "poison",
    "replay",
    "simulate_theorem1",
    "statistics",
    "subjects",
    "sweep",
    "sweeps",
    "testing",
    "theorem1_limit",
    "theory",
    "verify",
]

_HOMES = {
    "descend": "dynamics",
    "effective_rank": "metrics",
    "generalization_error": "metrics",
    "gradient_descent": "dynamics",
    "gradient_flow": "dynamics",
    "open_multirun": "cli.multirun",
    "open_sweep": "sweeps",
    "replay": "paper",
    "simulate_theorem1": "dynamics",
    "sweep": "sweeps",
    "theorem1_limit": "dynamics",
    "verify": "verification",
}
"""Where the functions above live; every other public name is a module."""


def __getattr__(name: str) -> object:
    """Look up a public name, once: the answer is kept in the module."""
    if name not in __all__:
        raise AttributeError(f"module 'ssmbias' has no attribute {name!r}")
    home = importlib.import_module(f"ssmbias.{_HOMES.get(name, name)}")
    value = getattr(home, name) if name in _HOMES else home
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Offer the public names before they are loaded."""
    return sorted({*globals(), *__all__})
