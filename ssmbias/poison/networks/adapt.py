"""Whatever network it is, as a pair of pure functions of one example.

| you have | pass |
|---|---|
| a configuration of ours | the `SequenceConfig` |
| flax linen | the module |
| flax nnx | a function of `rngs` that makes the module, or its class |
| equinox | a function of `key` that makes the module, or its class |
| functions | the pair `(init, apply)`, or an object with these two methods |

A module of nnx or equinox that was made already is taken too; every seed then starts from its
parameters. All of them take one input (length, features) and answer with a vector.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, cast

import jax
import jax.numpy as jnp

from ssmbias.core.types import Array
from ssmbias.models.networks.config import SequenceConfig
from ssmbias.poison.protocols import Network, Task


def adapted(network: Any) -> Any:
    """The network as an experiment keeps it; a `SequenceConfig` stays what it is.

    Args:
      network: see the table above.

    Returns:
      A `SequenceConfig`, or a `Network` that can be hashed.

    Raises:
      ValueError: it is none of these.

    Example:
      >>> pair = (lambda key, u: jnp.zeros(u.shape[0]), lambda params, u: params @ u)
      >>> adapted(pair).apply(jnp.ones(3), jnp.ones((3, 1))).tolist()
      [3.0]
    """
    if isinstance(network, SequenceConfig | Functions):
        return network
    for library, module, make in _LIBRARIES:
        # Who has a module of a library has imported it; no other needs to wait for it.
        found = sys.modules.get(library)
        base = getattr(found, module, None)
        if base is not None and (
            isinstance(network, base) or (isinstance(network, type) and issubclass(network, base))
        ):
            return make()(network)
    if isinstance(network, tuple | list) and len(network) == 2 and all(map(callable, network)):
        return Functions(*network)
    if callable(getattr(network, "init", None)) and callable(getattr(network, "apply", None)):
        try:
            hash(network)
        except TypeError as err:
            raise ValueError(
                f"network={type(network).__name__}: cannot be hashed; make it a frozen dataclass, "
                "or a class without __eq__"
            ) from err
        return network
    if callable(network):
        return _built(network)
    raise ValueError(
        f"network={type(network).__name__}: pass a flax or equinox module, a function that makes "
        "one, or the functions (init, apply)"
    )


class Functions:
    """A network as two functions.

    Args:
      init: `(key, one input) -> params`.
      apply: `(params, one input) -> outputs`.
    """

    def __init__(self, init: Any, apply: Any) -> None:
        for name, function in (("init", init), ("apply", apply)):
            if not callable(function):
                raise ValueError(f"{name}={function!r}: pass a function")
        self.init, self._apply = init, apply

    @property
    def source(self) -> Any:
        """What was given, by which stored numbers are told from others."""
        return [self.init, self._apply]

    def apply(self, params: Any, inputs: Array) -> Array:
        """The outputs for one input."""
        given = self._apply(params, inputs)
        alone = isinstance(given, tuple) and len(given) == 1
        found = cast(Any, given[0] if alone else given)
        return jnp.reshape(found, (1,)) if jnp.ndim(found) == 0 else jnp.asarray(found)


def _linen() -> Any:
    from ssmbias.poison.networks.linen import LinenNetwork  # noqa: PLC0415  (flax)

    return LinenNetwork


def _nnx() -> Any:
    from ssmbias.poison.networks.nnx import NnxNetwork  # noqa: PLC0415  (flax)

    return NnxNetwork


def _equinox() -> Any:
    from ssmbias.poison.networks.equinox import EquinoxNetwork  # noqa: PLC0415  (equinox)

    return EquinoxNetwork


_LIBRARIES = (
    ("flax.linen", "Module", _linen),
    ("flax.nnx", "Module", _nnx),
    ("equinox", "Module", _equinox),
)


def _built(make: Any) -> Any:
    """A network of a function that makes modules; the name of its argument tells of which kind."""
    import inspect  # noqa: PLC0415

    try:
        names = [*inspect.signature(make).parameters]
    except (TypeError, ValueError):
        names = []
    if "rngs" in names:
        return _nnx()(make)
    if "key" in names:
        return _equinox()(make)
    raise ValueError(
        "network: a function that makes a module takes `rngs` (flax nnx) or `key` (equinox), as "
        f"in lambda rngs: MyNetwork(rngs=rngs); this one takes ({', '.join(names)})"
    )


@functools.cache
def functions_of(network: Any) -> Network:
    """The functions of what `adapted` returned."""
    if isinstance(network, SequenceConfig):
        from ssmbias.poison.networks.sequence import PlainSequence  # noqa: PLC0415  (flax)

        return PlainSequence(network)
    return network


def check_network(network: Any, task: Task) -> int:
    """Refuse a network that cannot take the task's inputs, or whose outputs are not its classes.

    Nothing is computed.

    Args:
      network: from `adapted`.
      task: whose inputs and classes these are.

    Returns:
      The number of outputs.

    Raises:
      ValueError: in one line, what failed.
    """
    num = num_outputs_of(network, (task.seq_len, task.num_features), dtype_of(task))
    classes = task.num_classes
    fitting = {None: (1,), 2: (1, 2)}.get(classes, (classes,))
    if num not in fitting:
        what = "values" if classes is None else f"{classes} classes"
        raise ValueError(
            f"network: has {num} outputs and the task has {what}; it needs "
            f"{' or '.join(map(str, fitting))}"
        )
    if getattr(network, "start_is_given", False) and getattr(task, "data_are_given", False):
        raise ValueError(
            "network: is a module that was made already, and the training data are given too, so "
            "that seeds would repeat one run; pass a function that makes the module"
        )
    return num


def num_outputs_of(network: Any, shape: tuple[int, ...], dtype: Any) -> int:
    """Length of a network's answer to one input.

    Raises:
      ValueError: it fails, answers with something else than a vector of real numbers, or has
        parameters that are no real or complex arrays.
    """
    example = jax.ShapeDtypeStruct(shape, dtype)
    functions = functions_of(network)
    words = f"one input of shape {shape}, {jnp.dtype(dtype)}"
    key = jax.eval_shape(lambda: jax.random.key(0))
    params: Any = _tried("init", words, functions.init, key, example)
    leaves = jax.tree.leaves(params)
    if not leaves:
        raise ValueError("network: init returns no parameters")
    for leaf in leaves:
        dtype_found = getattr(leaf, "dtype", None)
        if dtype_found is None or not jnp.issubdtype(dtype_found, jnp.inexact):
            raise ValueError(
                f"network: init returns {dtype_found or type(leaf).__name__} among the parameters; "
                "all must be real or complex arrays"
            )
    found: Any = _tried("apply", words, functions.apply, params, example)
    if getattr(found, "ndim", None) != 1 or not jnp.issubdtype(found.dtype, jnp.floating):
        what = ", ".join(f"{x.dtype}{list(x.shape)}" for x in jax.tree.leaves(found))
        raise ValueError(
            f"network: apply returns {what} for {words}; expected a vector of real numbers, one "
            "for two classes or one a class"
        )
    return found.shape[0]


def dtype_of(task: Task) -> Any:
    """The type of a task's inputs."""
    return getattr(task, "dtype", None) or jnp.result_type(float)


def _tried(name: str, words: str, function: Any, *arguments: Any) -> Any:
    try:
        return jax.eval_shape(function, *arguments)
    except Exception as err:
        lines = [line.strip() for line in str(err).splitlines() if line.strip()]
        said = lines[0] if lines else "no reason given"
        raise ValueError(f"network: {name} fails on {words}: {type(err).__name__}: {said}") from err
