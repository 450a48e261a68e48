"""What S4D and LRU do once their modes are known: `apply`, `final` and `kernel` of either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float

from ssmbias.core.types import Array
from ssmbias.models.layers.modes import Modes, modal_apply, modal_final, modal_kernel
from ssmbias.models.layers.scans import in_working_dtype, require_params, require_sequence


@dataclass(frozen=True)
class ModalLayer:
    """The functions of a layer that is a sum of modes, for one sequence.

    Attributes:
      name: name of the layer, used in messages.
      params: the class of its parameters, which has a field `d`.
      modes_of: parameters -> modes.

    Example:
      >>> import jax
      >>> from ssmbias.models.layers import lru
      >>> layer = ModalLayer("lru", lru.LRUParams, lru.modes_of)
      >>> params = lru.init(jax.random.key(0), channels=3, state_dim=8)
      >>> layer.kernel(params, 5).shape
      (5, 3)
    """

    name: str
    params: type
    modes_of: Callable[[Any], Modes]

    def apply(
        self, params: Any, u: Float[Array, "length channels"], method: str = "fft"
    ) -> Float[Array, "length channels"]:
        r"""The output at every position, $y_{h,k} = \sum_l K_{h,l} u_{h,k-l} + D_h u_{h,k}$.

        Args:
          params: as `init` returns them; map over several with `jax.vmap`.
          u: one sequence.
          method: `"fft"`, `"direct"` (a triangular matrix, quicker for short sequences),
            `"recurrence"` or `"scan"`; they agree to rounding.

        Returns:
          $y$, of the shape and dtype of `u`; $y_k$ depends on $u_1, \dots, u_k$ only (up to
          rounding with `"fft"`).

        Raises:
          ValueError: `u` is no floating-point array of shape (length, channels) with length at
            least 1, `params` are another layer's, or an unknown `method`.

        Example:
          >>> import jax
          >>> import jax.numpy as jnp
          >>> from ssmbias.models.layers import s4d
          >>> params = s4d.init(jax.random.key(0), channels=3, state_dim=8)
          >>> jax.jit(s4d.apply)(params, jnp.ones((10, 3))).shape
          (10, 3)
        """
        dtype, u, params = self._checked(params, u)
        return modal_apply(self.modes_of(params), params.d, u, method).astype(dtype)

    def final(self, params: Any, u: Float[Array, "length channels"]) -> Float[Array, " channels"]:
        """The output at the last position alone, at a fraction of the price.

        Args:
          params: as `init` returns them.
          u: one sequence.

        Returns:
          The last row of `apply`.

        Raises:
          ValueError: as for `apply`.

        Example:
          >>> import jax
          >>> import jax.numpy as jnp
          >>> from ssmbias.models.layers import lru
          >>> params = lru.init(jax.random.key(0), channels=3, state_dim=8)
          >>> u = jnp.ones((10, 3))
          >>> last, whole = jax.jit(lru.final)(params, u), jax.jit(lru.apply)(params, u)
          >>> bool(jnp.allclose(last, whole[-1], rtol=1e-4))
          True
        """
        dtype, u, params = self._checked(params, u)
        return modal_final(self.modes_of(params), params.d, u).astype(dtype)

    def kernel(self, params: Any, length: int) -> Float[Array, "length channels"]:
        """The impulse response K at lags 0, 1, ...; the direct path D comes on top, at lag 0.

        Args:
          params: as `init` returns them.
          length: how many lags, at least 1.

        Returns:
          K, time first.

        Raises:
          ValueError: `length` is no positive integer, or `params` are another layer's.

        Example:
          >>> import jax
          >>> from ssmbias.models.layers import s4d
          >>> s4d.kernel(s4d.init(jax.random.key(0), channels=3, state_dim=8), 5).shape
          (5, 3)
        """
        require_params(self.name, params, self.params)
        return modal_kernel(self.modes_of(params), length)

    def _checked(self, params: Any, u: Any) -> tuple[Any, Array, Any]:
        require_params(self.name, params, self.params)
        u = require_sequence(u, params.d.shape[-1])
        return u.dtype, *in_working_dtype(u, params)
