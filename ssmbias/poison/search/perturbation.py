r"""Perturbations within an $\ell_\infty$ budget and a box, exactly; and random ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ssmbias.core.checks import is_concrete
from ssmbias.core.types import AnyArray, Array
from ssmbias.poison.batch import Batch, check_batch
from ssmbias.poison.search.matching_config import MatchingConfig


class Bounds(NamedTuple):
    """Entrywise bounds of a perturbation."""

    low: Float[Array, "num ..."]
    high: Float[Array, "num ..."]


def perturbation_bounds(
    inputs: Float[Array, "num ..."],
    config: MatchingConfig,
    support: Bool[AnyArray, "..."] | None = None,
) -> Bounds:
    r"""The bounds that keep $|\delta|\le\varepsilon$ and `inputs` + $\delta$ in the box.

    They hold to the last bit in floating point: for every $\delta$ between them the rounded sum
    `inputs` + $\delta$ is in the box, and $|\delta|$ does not exceed the budget as written.

    Args:
      inputs: the unperturbed inputs, inside the box.
      config: the budget and the box.
      support: True where $\delta$ may differ from zero: the shape of one input, or of all.

    Returns:
      The bounds, of the shape of `inputs`.

    Raises:
      ValueError: an input outside the box, or a support that is of another shape, not boolean or
        empty.

    Example:
      >>> bounds = perturbation_bounds(jnp.array([[0.98]]), MatchingConfig(0.05, box=(0.0, 1.0)))
      >>> bounds.low.tolist(), bool(0.98 + bounds.high[0, 0] <= 1.0)
      ([[-0.05]], True)
    """
    # The nearest number of this precision may lie above the budget; then the next one down.
    budget = np.asarray(config.budget, inputs.dtype)
    if float(budget) > config.budget:
        budget = np.nextafter(budget, np.zeros((), inputs.dtype))
    high = jnp.full(inputs.shape, budget, inputs.dtype)
    low = -high
    if config.box is not None:
        bottom, top = (np.asarray(bound, inputs.dtype) for bound in config.box)
        if is_concrete(inputs) and bool(
            np.any((np.asarray(inputs) < bottom) | (np.asarray(inputs) > top))
        ):
            raise ValueError(f"box={config.box!r}: an unperturbed input lies outside of it")
        # `top - inputs` is rounded. Where the sum leaves the box, the next number is small enough:
        # it lies below the exact difference, and rounding a sum keeps its order.
        room = top - inputs
        room = jnp.where(inputs + room > top, jnp.nextafter(room, -jnp.inf), room)
        high = jnp.minimum(high, room)
        room = bottom - inputs
        room = jnp.where(inputs + room < bottom, jnp.nextafter(room, jnp.inf), room)
        low = jnp.maximum(low, room)
    if support is not None:
        mask = _mask(support, inputs.shape)
        high, low = jnp.where(mask, high, 0), jnp.where(mask, low, 0)
    return Bounds(low, high)


def project(delta: Float[Array, "num ..."], bounds: Bounds) -> Float[Array, "num ..."]:
    """The nearest perturbation within `bounds`.

    Example:
      >>> project(jnp.array([0.2, -0.2]), Bounds(jnp.array([-0.1, -0.3]), jnp.array([0.1, 0.3])))
      Array([ 0.1, -0.2], dtype=float64)
    """
    return jnp.clip(delta, bounds.low, bounds.high)


def random_perturbation(
    key: Array,
    poisons: Batch,
    config: MatchingConfig,
    *,
    like: Float[AnyArray, "num ..."] | None = None,
    support: Bool[AnyArray, "..."] | None = None,
) -> Float[Array, "num ..."]:
    r"""The control of a found perturbation: same budget, and same size where `like` is given.

    Without `like` the entries are uniform in $[-\varepsilon,\varepsilon]$, clipped to the box. With
    `like` every example gets $\mathrm{clip}(s z)$ with $z$ standard normal and the $s$ that makes
    its $\ell_2$ norm that of `like`, so that clipping costs no size: as the norm grows from 0 to
    the largest that the bounds allow, this goes from a uniform direction to uniform signs of full
    size. Where the box leaves no room for the norm, it is the largest perturbation of these signs.

    Args:
      key: a JAX random key.
      poisons: the unperturbed examples.
      config: the budget and the box; nothing else is read.
      like: perturbations whose norm to match, example by example.
      support: True where the perturbation may differ from zero; give the one that `like` had.

    Returns:
      Perturbations, of the shape of the inputs.

    Raises:
      ValueError: as `perturbation_bounds`, or `like` has another shape than the inputs.

    Example:
      >>> poisons = Batch(jnp.zeros((2, 4)), jnp.array([0, 1]))
      >>> like = jnp.array([[0.1, 0.1, -0.1, 0.1], [0.0, 0.0, 0.03, -0.04]])
      >>> config = MatchingConfig(budget=0.1)
      >>> draw = jax.jit(lambda key: random_perturbation(key, poisons, config, like=like))
      >>> found = draw(jax.random.key(0))
      >>> jnp.linalg.norm(found, axis=1), jnp.abs(found[0])
      (Array([0.2 , 0.05], dtype=float64), Array([0.1, 0.1, 0.1, 0.1], dtype=float64))
    """
    inputs = check_batch("poisons", poisons).inputs
    bounds = perturbation_bounds(inputs, config, support)
    if like is None:
        draw = jax.random.uniform(key, inputs.shape, inputs.dtype, -1.0, 1.0)
        return project(config.budget * draw, bounds)
    like = jnp.asarray(like)
    if like.shape != inputs.shape:
        raise ValueError(f"like has shape {like.shape}: expected that of the inputs {inputs.shape}")
    draw = jax.random.normal(key, inputs.shape, inputs.dtype)
    # A normal number that rounds to zero would never reach its bound.
    draw = jnp.where(draw == 0, 1, draw)
    return jax.vmap(_of_norm)(draw, bounds, jnp.asarray(like, inputs.dtype))


def _of_norm(draw: Array, bounds: Bounds, like: Array) -> Array:
    """clip(s · draw) with the norm of `like`.

    The squared norm is, between the scales t_i = bound_i / |draw_i| at which an entry meets its
    bound, (bounds met)² + s² (draws not met)²; so a sort finds the stretch and the square root s.
    """
    limit = jnp.ravel(jnp.where(draw > 0, bounds.high, -bounds.low))
    size = jnp.abs(jnp.ravel(draw))
    meets = limit / size
    order = jnp.argsort(meets)
    limit, size, meets = limit[order], size[order], meets[order]
    start = jnp.zeros((1,), limit.dtype)
    met = jnp.concatenate([start, jnp.cumsum(jnp.square(limit))])
    # Summed from the end, as differences of a forward sum would not end in zero.
    free = jnp.concatenate([jnp.cumsum(jnp.square(size)[::-1])[::-1], start])
    wanted = jnp.sum(jnp.square(like))
    # Entries that have met their bound once the norm is the wanted one.
    num_met = jnp.sum(met[1:] + jnp.square(meets) * free[1:] <= wanted)
    left, rest = jnp.maximum(wanted - met[num_met], 0), free[num_met]
    scale = jnp.where(rest > 0, jnp.sqrt(left / jnp.where(rest > 0, rest, 1)), meets[-1])
    return jnp.clip(jnp.minimum(scale, meets[-1]) * draw, bounds.low, bounds.high)


def _mask(support: Any, shape: tuple[int, ...]) -> Array:
    """The support as a mask of all inputs, or a complaint."""
    mask = jnp.asarray(support)
    if mask.dtype != jnp.bool_ or mask.shape not in (shape, shape[1:]):
        raise ValueError(
            f"support is {mask.dtype}{mask.shape}: pass booleans of shape {shape[1:]} or {shape}"
        )
    if is_concrete(mask) and not np.any(np.asarray(mask)):
        raise ValueError("support: is empty; set it to True where the perturbation may act")
    return mask if mask.shape == shape else jnp.broadcast_to(mask[None], shape)
