"""Input guards: what is wrong is said at the door, before anything is compiled.

Every guard raises ``ValueError`` with the parameter's name, the value it got and the
remedy. Values that are being traced (under ``jit`` or ``vmap``) cannot be inspected; for
those only dtype and shape are checked, and the numerical code returns ``nan`` or an
outcome code instead.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

X64_REMEDY = (
    "set the environment variable JAX_ENABLE_X64=1, or call "
    "jax.config.update('jax_enable_x64', True) before the first array is made"
)


def is_concrete(value: Any) -> bool:
    """Whether the numbers in `value` can be looked at (they are not being traced)."""
    return not isinstance(value, Tracer)


def require_x64(name: str) -> None:
    """Refuse to go on in single precision.

    Args:
      name: what is asked for, used in the message.

    Raises:
      ValueError: JAX's double precision is switched off.
    """
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ValueError(f"{name}: float64 is needed and JAX has it switched off; {X64_REMEDY}")


def as_float64(name: str, value: Any, *, ndim: int | None = None) -> jax.Array:
    """Turn `value` into a float64 JAX array, or say why not.

    Python numbers, sequences and integer arrays are converted; single-precision arrays are
    refused, because their digits are already lost.

    Args:
      name: the parameter's name, used in messages.
      value: a number, sequence or array.
      ndim: the number of dimensions it must have; `None` allows any.

    Raises:
      ValueError: double precision is off, the dtype is not float64, the value is not
        numeric, not finite, or has another number of dimensions.
    """
    require_x64(name)
    dtype = getattr(value, "dtype", None)
    if value is None or isinstance(value, str | bytes | bool):
        raise ValueError(f"{name}={value!r}: expected real numbers")
    if dtype is None:
        try:
            value = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as err:
            raise ValueError(f"{name}={value!r}: expected real numbers") from err
    elif jnp.issubdtype(dtype, jnp.floating) and dtype != np.float64:
        raise ValueError(
            f"{name} has dtype {dtype}: pass float64, e.g. numpy.asarray({name}, numpy.float64), "
            "from data that never was in lower precision"
        )
    elif jnp.issubdtype(dtype, jnp.complexfloating) or dtype == np.bool_:
        raise ValueError(f"{name} has dtype {dtype}: pass real float64 numbers")
    try:
        array = jnp.asarray(value, dtype=jnp.float64)
    except TypeError as err:
        raise ValueError(f"{name}={value!r}: expected real numbers") from err
    if ndim is not None and array.ndim != ndim:
        remedy = "; map over further axes with jax.vmap" if array.ndim > ndim else ""
        raise ValueError(f"{name} has shape {array.shape}: expected {ndim} dimension(s){remedy}")
    if is_concrete(array) and not bool(np.all(np.isfinite(np.asarray(array)))):
        raise ValueError(f"{name}={_short(array)}: every entry must be finite")
    return array


def require_positive(name: str, value: jax.Array) -> None:
    """Raise `ValueError` unless every (inspectable) entry is greater than zero."""
    if is_concrete(value) and not bool(np.all(np.asarray(value) > 0)):
        raise ValueError(f"{name}={_short(value)}: every entry must be greater than 0")


def require_nonnegative(name: str, value: jax.Array) -> None:
    """Raise `ValueError` unless every (inspectable) entry is at least zero."""
    if is_concrete(value) and not bool(np.all(np.asarray(value) >= 0)):
        raise ValueError(f"{name}={_short(value)}: must be 0 or greater")


def require_int(name: str, value: Any, *, minimum: int, maximum: int | None = None) -> int:
    """Return `value` as an `int` in [minimum, maximum], or raise `ValueError`."""
    span = f">= {minimum}" if maximum is None else f"in {minimum}..{maximum}"
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ValueError(f"{name}={value!r}: expected an integer {span}")
    number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        raise ValueError(f"{name}={number}: must be {span}")
    return number


def require_number(name: str, value: Any) -> float:
    """Return `value` as a finite float, or raise `ValueError`."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ValueError(f"{name}={value!r}: expected a number, such as {name}=1e-3")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}={value!r}: must be finite")
    return number


def require_seq_len(value: Any, *, minimum: int, odd: bool, name: str = "seq_len") -> int:
    """Return a sequence length κ that is large enough and, where asked for, odd.

    κ odd makes p = κ-2 odd and κ-1 even, which is what the limits on
    ``{S_1 = 1, S_{κ-1} = 1}`` of Theorem 1 rest on.
    """
    seq_len = require_int(name, value, minimum=minimum)
    if odd and seq_len % 2 == 0:
        raise ValueError(
            f"{name}={seq_len}: must be odd in the setting of Theorem 1; "
            f"use {seq_len - 1} or {seq_len + 1}"
        )
    return seq_len


def require_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`, else raise `ValueError` listing them."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}: choose one of {', '.join(choices)}")
    return value


def _short(value: Any) -> str:
    """A value for a message: at most six entries."""
    return np.array2string(np.asarray(value), threshold=6, edgeitems=3, separator=", ")
