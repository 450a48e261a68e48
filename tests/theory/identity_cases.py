"""Students and training sets with all positions filled, and their exact loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.data import TrainingSet
from ssmbias.metrics import sample_loss
from ssmbias.models import DiagonalSSM

EPS = np.finfo(np.float64).eps
STATES, SAMPLES, SEQ_LEN = 4, 5, 6
# Half an eps for each addition and multiplication in sequence: d + n + 2κ of them on either
# side. Rounding errors mostly cancel: about 2 eps is what is measured.
FEW_EPS = (STATES + SAMPLES + 2 * SEQ_LEN) * EPS


def make_case(seed):
    """A model with zero and negative entries, weighted random sequences, any targets."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, STATES))
    a[1] = 0.0
    inputs = rng.normal(size=(SAMPLES, SEQ_LEN))
    inputs[2, :-2] = 0.0
    weights = np.array([1.0, 1.0, 0.3, 0.0, 2.5])
    targets = rng.normal(size=SAMPLES)
    model = DiagonalSSM(*map(jnp.asarray, (a, b, c)))
    return model, TrainingSet(jnp.asarray(inputs), jnp.asarray(weights)), jnp.asarray(targets)


def negative_gradient(model, training_set, targets):
    gradient = jax.grad(sample_loss)(model, training_set, targets)
    return jax.tree.map(jnp.negative, gradient)
