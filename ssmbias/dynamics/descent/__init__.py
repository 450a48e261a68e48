"""Gradient descent with any optax optimiser, thousands of runs at a time."""
