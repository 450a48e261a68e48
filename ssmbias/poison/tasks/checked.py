"""Your arrays and your teacher, checked at the door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.types import Array
from ssmbias.poison.batch import Batch

_FLOATS = (np.float32, np.float64)


def checked_batch(
    part: str, inputs: Any, labels: Any, num_classes: int | None, like: Batch | None = None
) -> Batch:
    """Inputs and labels as NumPy arrays, or what is wrong with them.

    Args:
      part: "train", "test" or "target", for messages.
      inputs: (n, length, features).
      labels: (n,).
      num_classes: labels lie below it; `None` looks at the inputs only.
      like: a batch whose sequences have the same shape.

    Returns:
      The same numbers; labels as int32.

    Raises:
      ValueError: in one line, naming the argument.

    Example:
      >>> checked_batch("train", np.zeros((3, 8)), np.zeros(3), 2)
      Traceback (most recent call last):
      ValueError: train_inputs has shape (3, 8): expected (n, length, features); ...
    """
    name = f"{part}_inputs"
    try:
        array = np.asarray(inputs)
    except (TypeError, ValueError) as err:
        raise ValueError(f"{name}: expected an array (n, length, features)") from err
    if array.ndim != 3:
        hint = "; for one feature write x[..., None]" if array.ndim == 2 else ""
        raise ValueError(f"{name} has shape {array.shape}: expected (n, length, features){hint}")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: it is empty")
    if array.dtype not in _FLOATS:
        raise ValueError(
            f"{name} has dtype {array.dtype}: pass float64 or float32, as in x.astype(float)"
        )
    if not np.isfinite(array).all():
        first = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(
            f"{name}{first}={array[tuple(first)]}: every entry must be finite; leave such "
            "sequences out"
        )
    if like is not None and array.shape[1:] != like.inputs.shape[1:]:
        raise ValueError(
            f"{name} has sequences of shape {array.shape[1:]} and train_inputs "
            f"{tuple(like.inputs.shape[1:])}: all must have one shape"
        )
    return Batch(array, _labels(f"{part}_labels", labels, array, num_classes))  # pyright: ignore[reportArgumentType]


def _labels(name: str, labels: Any, inputs: np.ndarray, num_classes: int | None) -> Any:
    try:
        array = np.asarray(labels)
    except (TypeError, ValueError) as err:
        raise ValueError(f"{name}: expected an array (n,) of classes") from err
    if array.shape != inputs.shape[:1]:
        raise ValueError(
            f"{name} has shape {array.shape}: expected {inputs.shape[:1]}, one label a sequence"
        )
    if num_classes is None:
        return array
    remedy = "0 or 1" if num_classes == 2 else f"integers in 0..{num_classes - 1}"
    if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
        # Whole numbers that some program wrote as floats are labels all the same.
        if not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"{name} has dtype {array.dtype}: labels must be {remedy}")
        whole = np.isfinite(array) & (array == np.round(array))
        if not whole.all():
            index = int(np.flatnonzero(~whole)[0])
            raise ValueError(f"{name}[{index}]={array[index]}: labels must be {remedy}")
    values = array.astype(np.int64)
    wrong = np.flatnonzero((values < 0) | (values >= num_classes))
    if wrong.size:
        raise ValueError(f"{name}[{wrong[0]}]={values[wrong[0]]}: labels must be {remedy}")
    return values.astype(np.int32)


def checked_teacher(
    teacher: Any, train: Batch, num_classes: int, *, agrees: bool = True
) -> Callable[[Array], Array] | None:
    """The teacher as a function from one sequence to an int32, or what is wrong with it.

    Args:
      teacher: of one sequence, or of a batch of them; `None` stays `None`.
      train: sequences with their labels.
      num_classes: labels lie below it.
      agrees: whether the teacher must give these labels.

    Returns:
      A function of one sequence.

    Raises:
      ValueError: it fails, gives something else than a class, or other labels than the given ones.
    """
    if teacher is None or isinstance(teacher, _Checked):
        return teacher
    if not callable(teacher):
        raise ValueError(f"teacher={teacher!r}: pass a function of one sequence, or None")
    inputs = jax.ShapeDtypeStruct(train.inputs.shape, train.inputs.dtype)
    one = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    batch = jax.ShapeDtypeStruct((3, *one.shape), one.dtype)
    said = ""
    for whole, given, shape in ((False, one, ()), (True, batch, (3,))):
        try:
            found = jax.eval_shape(lambda x: jnp.asarray(teacher(x)), given)
        except Exception as err:
            said = said or f"{type(err).__name__}: {str(err).strip().splitlines()[0]}"
            continue
        if found.shape == shape:
            checked = _Checked(teacher, whole)
            _look_at(checked, train, num_classes, agrees)
            return checked
        said = said or f"it returns shape {found.shape}"
    raise ValueError(
        f"teacher: expected a function, in jax.numpy, from one sequence {one.shape} to its label; "
        f"{said}"
    )


class _Checked:
    """A teacher that takes one sequence, whatever it was before."""

    def __init__(self, teacher: Callable[[Any], Any], whole: bool) -> None:
        self._teacher, self._whole = teacher, whole

    def answer(self, inputs: Array) -> Array:
        """What the teacher says of one sequence, as it says it."""
        return jnp.asarray(self._teacher(inputs[None])[0] if self._whole else self._teacher(inputs))

    def __call__(self, inputs: Array) -> Array:
        """The label of one sequence."""
        return self.answer(inputs).astype(jnp.int32)


def _look_at(teacher: _Checked, train: Batch, num_classes: int, agrees: bool) -> None:
    """Refuse labels that are no classes, and a teacher that contradicts the given ones."""
    found = np.asarray(jax.vmap(teacher.answer)(jnp.asarray(train.inputs))) * 1
    wrong = found[~np.isin(found, np.arange(num_classes))]
    if wrong.size:
        raise ValueError(f"teacher: gives the label {wrong[0]}; labels lie in 0..{num_classes - 1}")
    if not agrees:
        return
    other = int(np.sum(found != np.asarray(train.labels)))
    if other:
        raise ValueError(
            f"teacher: contradicts {other} of {len(found)} train_labels; no arm may change a "
            "label, so leave the teacher out or label the training data by it"
        )
