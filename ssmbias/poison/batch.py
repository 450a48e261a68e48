"""Labelled examples, the loss of one of them, and the checks that both must pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from ssmbias.core.checks import is_concrete, require_int
from ssmbias.core.types import Array

Params: TypeAlias = Any
"""The network's parameters: any tree of real or complex arrays."""

LossFn: TypeAlias = Callable[[Params, Array, Array], Array]
"""`(params, input, label) -> loss` of ONE example, a scalar."""

Relabel: TypeAlias = Callable[[Array], Array]
"""The teacher: `inputs (num, ...) -> labels (num,)`, for a whole batch."""


class Batch(NamedTuple):
    """Labelled examples.

    Example:
      >>> batch = Batch(jnp.zeros((3, 8)), jnp.array([0, 1, 1]))
      >>> batch.inputs.shape, batch.labels.shape
      ((3, 8), (3,))
    """

    inputs: Float[Array, "num ..."]
    labels: Shaped[Array, " num"]


def check_batch(name: str, batch: Batch, num_classes: int | None = None) -> Batch:
    """Return `batch` as JAX arrays, or say what is wrong with it.

    Args:
      name: what the batch is called, used in messages.
      batch: the examples.
      num_classes: labels must be integers in 0..num_classes-1; `None` allows any label.

    Returns:
      The same examples.

    Raises:
      ValueError: no example, not one label an example, inputs that are not floating point or
        not finite, or labels outside the classes. Values that are being traced are not looked at.

    Example:
      >>> check_batch("targets", Batch(np.zeros((2, 8)), np.array([0, 3])), num_classes=2)
      Traceback (most recent call last):
      ValueError: targets.labels=3: labels must be integers in 0..1
    """
    inputs, labels = jnp.asarray(batch.inputs), jnp.asarray(batch.labels)
    if inputs.ndim < 2 or inputs.size == 0:
        raise ValueError(
            f"{name}.inputs has shape {inputs.shape}: pass at least one example, as (num, ...)"
        )
    if labels.shape != inputs.shape[:1]:
        raise ValueError(
            f"{name}.labels has shape {labels.shape} and {name}.inputs {inputs.shape}: "
            "pass one label an example"
        )
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(f"{name}.inputs has dtype {inputs.dtype}: pass floating point numbers")
    if is_concrete(inputs) and not np.isfinite(np.asarray(inputs)).all():
        raise ValueError(f"{name}.inputs: every entry must be finite")
    check_labels(f"{name}.labels", labels, num_classes)
    return Batch(inputs, labels)


def check_labels(name: str, labels: Array, num_classes: int | None) -> None:
    """Raise `ValueError` unless `labels` are classes 0..num_classes-1, where that is given."""
    if num_classes is None:
        return
    require_int("num_classes", num_classes, minimum=2)
    remedy = f"labels must be integers in 0..{num_classes - 1}"
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"{name} has dtype {labels.dtype}: {remedy}")
    if is_concrete(labels):
        values = np.asarray(labels)
        wrong = values[(values < 0) | (values >= num_classes)]
        if wrong.size:
            raise ValueError(f"{name}={wrong[0]}: {remedy}")


def check_same_examples(poisons: Batch, targets: Batch) -> None:
    """Raise `ValueError` unless one poison has the shape and dtype of one target."""
    one, other = poisons.inputs, targets.inputs
    if one.shape[1:] != other.shape[1:] or one.dtype != other.dtype:
        raise ValueError(
            f"one poison is {one.dtype}{one.shape[1:]} and one target {other.dtype}"
            f"{other.shape[1:]}: both must be inputs of the same network"
        )


def check_loss(loss: LossFn, params: Params, batch: Batch) -> None:
    """Raise `ValueError` unless `loss` of one example is a real scalar; nothing is computed."""
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch)
    found = jax.eval_shape(loss, params, one.inputs, one.labels)
    if getattr(found, "shape", None) != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(
            f"loss of one example is {found}: expected a real scalar; brew maps it over examples"
        )


def relabelled(relabel: Relabel | None, inputs: Array, labels: Array) -> Array:
    """The teacher's labels of `inputs`, or `labels` themselves where there is no teacher.

    Args:
      relabel: the teacher, or `None`.
      inputs: shape (num, ...).
      labels: the true labels of the unperturbed examples, shape (num,).

    Returns:
      Labels of the shape and dtype of `labels`.

    Raises:
      ValueError: the teacher's labels have another shape or dtype.

    Example:
      >>> x, y = jnp.array([[1.0, -3.0], [2.0, 2.0]]), jnp.array([1, 1])
      >>> relabelled(lambda x: (x.sum(1) > 0).astype(y.dtype), x, y).tolist()
      [0, 1]
      >>> relabelled(None, x, y) is y
      True
    """
    if relabel is None:
        return labels
    found = jnp.asarray(relabel(inputs))
    if found.shape != labels.shape or found.dtype != labels.dtype:
        raise ValueError(
            f"relabel gives {found.dtype}{found.shape} for labels {labels.dtype}{labels.shape}: "
            "it takes the whole batch, and its labels must have their shape and dtype"
        )
    return found
