r"""How a layer runs over one sequence: causal convolution by FFT, recurrence, associative scan.

The sequence is (length, channels), time first. Everything works in one dtype, at least single
precision, and is meant for one sequence; map over sequences and over parameters with `jax.vmap`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import X64_REMEDY, require_choice, require_int
from ssmbias.core.types import Array

RECURRENCES = ("recurrence", "scan")
"""Ways to run a linear recurrence: step by step, associative scan."""


def linear_recurrence(
    decay: Callable[[Any], Array],
    drive: Callable[[Any], Array],
    readout: Callable[[Array, Any], Array],
    elements: Any,
    method: str = "recurrence",
) -> Array:
    r"""Outputs $y_k = r(s_k, x_k)$ of the states $s_k = a(x_k) \odot s_{k-1} + b(x_k)$, $s_0 = 0$.

    Args:
      decay: $a$, from one element to an array that multiplies the state.
      drive: $b$, from one element to an array of the state's shape.
      readout: $r$, from a state and its element to one output.
      elements: $x_1, x_2, \dots$: a pytree of arrays with time as first axis.
      method: `"recurrence"` goes step by step and keeps one state; `"scan"` composes the steps
        pairwise, in logarithmic depth, and keeps all states.

    Returns:
      $y_1, y_2, \dots$ along the first axis.

    Raises:
      ValueError: an unknown `method`.

    Example:
      >>> x = jnp.array([1.0, 0.0, 4.0])
      >>> half = lambda x: jnp.full_like(x, 0.5)
      >>> linear_recurrence(half, lambda x: x, lambda s, x: s, x, "scan").tolist()
      [1.0, 0.5, 4.25]

    References:
      G. E. Blelloch (1990), Prefix sums and their applications, CMU-CS-90-190.
    """
    if require_choice("method", method, RECURRENCES) == "scan":

        def compose(first, second):
            # The maps s -> a1 s + b1, then s -> a2 s + b2.
            (decay1, drive1), (decay2, drive2) = first, second
            return decay1 * decay2, decay2 * drive1 + drive2

        maps = (jax.vmap(decay)(elements), jax.vmap(drive)(elements))
        states = jax.lax.associative_scan(compose, maps)[1]
        return jax.vmap(readout)(states, elements)

    def step(state, element):
        state = decay(element) * state + drive(element)
        return state, readout(state, element)

    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), elements)
    state = jax.eval_shape(drive, one)
    return jax.lax.scan(step, jnp.zeros(state.shape, state.dtype), elements)[1]


def causal_convolution(
    kernel: Float[Array, "length channels"], u: Float[Array, "length channels"]
) -> Float[Array, "length channels"]:
    r"""$y_k = \sum_{l=0}^{k-1} K_l\, u_{k-l}$ for every channel, $k = 1, \dots$, by FFT.

    Both are padded with zeros to at least twice their length less one, so that nothing wraps
    around. Causal up to rounding: an FFT spreads errors of a few units in the last place of the
    largest output over all of them.

    Args:
      kernel: $K_0, K_1, \dots$ for every channel.
      u: the sequence, of the same shape and dtype.

    Returns:
      The outputs, of the same shape.

    Example:
      >>> y = causal_convolution(jnp.array([[1.0], [0.5]]), jnp.array([[2.0], [4.0]]))
      >>> [round(float(v), 6) for v in y[:, 0]]
      [2.0, 5.0]
    """
    length = u.shape[0]
    size = _fast_length(2 * length - 1)
    # Time last: FFTs run along contiguous memory.
    spectrum = jnp.fft.rfft(kernel.T, n=size) * jnp.fft.rfft(u.T, n=size)
    return jnp.fft.irfft(spectrum, n=size)[:, :length].T


def direct_convolution(
    kernel: Float[Array, "length channels"], u: Float[Array, "length channels"]
) -> Float[Array, "length channels"]:
    r"""The sum of `causal_convolution` as a product with a triangular Toeplitz matrix.

    The matrix does not depend on the sequence: under `jax.vmap` over sequences it is formed once,
    and the product is one of matrices. Quicker than FFTs where sequences are short.

    Args:
      kernel: $K_0, K_1, \dots$ for every channel.
      u: the sequence, of the same shape and dtype.

    Returns:
      The outputs, of the same shape.

    Example:
      >>> direct_convolution(jnp.array([[1.0], [0.5]]), jnp.array([[2.0], [4.0]]))[:, 0].tolist()
      [2.0, 5.0]
    """
    length = u.shape[0]
    # Reversed and padded: row i of the matrix is a window of it, without gathering by index.
    padded = jnp.concatenate([kernel[::-1].T, jnp.zeros_like(kernel.T)], axis=1)
    rows = [padded[:, length - 1 - i : 2 * length - 1 - i] for i in range(length)]
    return jnp.einsum("ihj,jh->ih", jnp.stack(rows), u)


def _fast_length(minimum: int) -> int:
    """The smallest even length with no prime factor above 5: what FFTs are quick at."""
    length = minimum + minimum % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def require_sequence(u: Any, channels: int) -> Float[Array, "length channels"]:
    """Return `u` as an array (length, channels) of floating-point numbers, or say what is wrong.

    Args:
      u: the sequence.
      channels: the layer's number of channels.

    Returns:
      The same numbers.

    Raises:
      ValueError: another dtype or shape, or no element at all.

    Example:
      >>> require_sequence(jnp.ones((3, 2)), 2).shape
      (3, 2)
    """
    dtype = getattr(u, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        got = type(u).__name__ if dtype is None else f"dtype {dtype}"
        raise ValueError(f"u has {got}: expected an array of real floating-point numbers")
    if u.ndim != 2:
        remedy = "; map over sequences with jax.vmap" if u.ndim > 2 else ""
        raise ValueError(f"u has shape {u.shape}: expected (length, {channels}){remedy}")
    if u.shape[1] != channels:
        raise ValueError(
            f"u has shape {u.shape}: the layer has {channels} channels, so expected "
            f"(length, {channels})"
        )
    if u.shape[0] == 0:
        raise ValueError(f"u has shape {u.shape}: a sequence needs at least one element")
    return jnp.asarray(u)


def require_params(name: str, params: Any, kind: type) -> None:
    """Raise `ValueError` unless `params` is what the layer's own `init` returns."""
    if not isinstance(params, kind):
        raise ValueError(
            f"params: {type(params).__name__} is not what {name}.init returns ({kind.__name__})"
        )


def in_working_dtype(u: Array, params: Any) -> tuple[Array, Any]:
    """`u` and `params` in one dtype: that of the more precise, and at least single precision.

    Half-precision sequences are thereby filtered in the precision of the parameters.

    Args:
      u: the sequence.
      params: pytree of arrays.

    Returns:
      Both, converted.

    Example:
      >>> u, (d,) = in_working_dtype(jnp.ones(2, jnp.bfloat16), (jnp.ones(2, jnp.float32),))
      >>> u.dtype, d.dtype
      (dtype('float32'), dtype('float32'))
    """
    work = jnp.float32
    for leaf in (u, *jax.tree.leaves(params)):
        work = jnp.promote_types(work, leaf.dtype)
    return u.astype(work), jax.tree.map(lambda leaf: leaf.astype(work), params)


def float_dtype(name: str, value: Any) -> np.dtype:
    """A dtype for parameters: the named one, or JAX's default floating-point type for `None`.

    Args:
      name: the parameter's name, used in messages.
      value: `None`, a name such as "float32", or a type.

    Returns:
      float32 or float64.

    Raises:
      ValueError: something else, or float64 while double precision is off.

    Example:
      >>> float_dtype("dtype", "float32")
      dtype('float32')
    """
    if value is None:
        return np.dtype(jax.dtypes.canonicalize_dtype(np.float64))
    try:
        dtype = np.dtype(value)
    except TypeError as err:
        raise ValueError(f"{name}={value!r}: choose one of float32, float64") from err
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"{name}={value!r}: choose one of float32, float64")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(f"{name}={value!r}: JAX has float64 switched off; {X64_REMEDY}")
    return dtype


def checked_options(
    layer: str, channels: Any, state_dim: Any, defaults: Mapping[str, Any], options: Any
) -> dict[str, Any]:
    """The options of a layer's `init` with defaults filled in; what is common is checked.

    Args:
      layer: name of the layer, used in messages.
      channels: number of channels, at least 1.
      state_dim: number of states, at least 1.
      defaults: every option with its default.
      options: the options that are given.

    Returns:
      Every option.

    Raises:
      ValueError: a size that is no positive integer, an unknown option.

    Example:
      >>> checked_options("lru", 4, 8, {"r_min": 0.0, "r_max": 1.0}, {"r_max": 0.5})
      {'r_min': 0.0, 'r_max': 0.5}
    """
    require_int("channels", channels, minimum=1)
    require_int("state_dim", state_dim, minimum=1)
    for name, value in options.items():
        if name not in defaults:
            raise ValueError(f"{name}={value!r}: {layer} has no such option; {', '.join(defaults)}")
    return {**defaults, **options}
