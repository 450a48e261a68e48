"""A small training set, and descents of a student on it."""

from __future__ import annotations

import numpy as np
import optax

from ssmbias.data import TrainingSet, lag_gram
from ssmbias.dynamics import DescentConfig, gradient_descent
from ssmbias.models import DiagonalSSM

SGD, ADAM = optax.sgd(0.1), optax.adam(0.02)
# Six sequences of length 5 with all positions filled, with weights; a teacher of two states.
RNG = np.random.default_rng(0)
INPUTS, WEIGHTS = RNG.normal(size=(6, 5)), RNG.uniform(0.5, 1.5, 6)
TEACHER = DiagonalSSM(np.array([0.9, -0.4]), np.ones(2), np.array([0.7, 0.5]))
START = DiagonalSSM(*(np.array(x) for x in ([0.5, 0.0, -0.3], [0.6, 0.4, -0.5], [0.3, 0.5, 0.2])))
DATA = lag_gram(TrainingSet(INPUTS, WEIGHTS), TEACHER)


def descend(step_size=1.0, *, start=START, optimizer=SGD, optimizer_state=None, **choices):
    return gradient_descent(
        start,
        DATA,
        optimizer,
        step_size=step_size,
        optimizer_state=optimizer_state,
        config=DescentConfig(**choices),
    )
