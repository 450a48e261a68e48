r"""A state space model inside a non-linear network: SSM, then a ReLU MLP without biases.

Flax's linen API, because its modules are pure functions of explicit parameters, which is what
`jax.vmap` over seeds asks for. Imported on its own (`ssmbias.models.networks.paper`): flax is slow
to import and nothing else needs it. Works in the precision of its parameters.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import require_int, require_number, require_x64
from ssmbias.core.types import Array
from ssmbias.models.ssm import DiagonalSSM, lag_powers

Params = dict[str, Any]


class SSMNetwork(nn.Module):
    r"""$N(\varphi(x))$: the output $z = \varphi(x)$ of an SSM, then an MLP with ReLUs.

    $N(z) = \mathrm{relu}(\cdots\mathrm{relu}(z D_0) D_1 \cdots) D_m$ with matrices $D_0$
    (1 × first width), ..., $D_m$ (last width × 1) and no biases. Without hidden widths $N(z) = z$
    and there are no matrices.

    Attributes:
      state_dim: number of states $d$.
      hidden: widths of the hidden layers, any number of them.
      sd_a, sd_bc, sd_head: standard deviations of the normal initial values of a, of b and c, and
        of the matrices; a, b, c are their absolute values, a and b in descending order.

    Example:
      >>> network = SSMNetwork(state_dim=3, hidden=(4, 4))
      >>> params = network.init(jax.random.key(0), jnp.ones((2, 5)))
      >>> network.apply(params, jnp.ones((2, 5))).shape
      (2,)
      >>> sorted(params["params"])
      ['D0', 'D1', 'D2', 'a', 'b', 'c']

    References:
      Slutzky et al. (2025), arXiv:2410.10473, experiments (SSM in a non-linear network).
    """

    state_dim: int
    hidden: tuple[int, ...] = ()
    sd_a: float = 0.01
    sd_bc: float = 0.01
    sd_head: float = 0.03

    def __post_init__(self) -> None:
        """Refuse impossible shapes and scales before flax sees them."""
        require_int("state_dim", self.state_dim, minimum=1)
        for width in self.hidden:
            require_int("hidden", width, minimum=1)
        for name in ("sd_a", "sd_bc", "sd_head"):
            if not require_number(name, getattr(self, name)) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be greater than 0")
        super().__post_init__()

    def setup(self) -> None:
        """The parameters, in double precision."""
        require_x64("SSMNetwork")

        def sorted_normal(scale: float, descending: bool) -> Any:
            def init(key: Array, shape: tuple[int, ...]) -> Array:
                draws = scale * jnp.abs(jax.random.normal(key, shape, jnp.float64))
                return jnp.sort(draws, descending=True) if descending else draws

            return init

        shape = (self.state_dim,)
        self.a = self.param("a", sorted_normal(self.sd_a, True), shape)
        self.b = self.param("b", sorted_normal(self.sd_bc, True), shape)
        self.c = self.param("c", sorted_normal(self.sd_bc, False), shape)
        widths = (1, *self.hidden, 1)
        normal = nn.initializers.normal(self.sd_head, jnp.float64)
        self.matrices = [
            self.param(f"D{i}", normal, (widths[i], widths[i + 1]))
            for i in range(len(widths) - 1)
            if self.hidden
        ]

    def __call__(self, inputs: Float[Array, "sample seq"]) -> Float[Array, " sample"]:
        """The network's output for each sequence."""
        return self.head(self.ssm_output(inputs))

    def ssm_output(self, inputs: Float[Array, "sample seq"]) -> Float[Array, " sample"]:
        r"""The SSM's output $z = \sum_k h_{\kappa-k} x_k$ for each sequence."""
        response = lag_powers(self.a, inputs.shape[1]) @ (self.b * self.c)
        return inputs[:, ::-1] @ response

    def head(self, z: Float[Array, " sample"]) -> Float[Array, " sample"]:
        """The MLP on top, for each output of the SSM."""
        if not self.hidden:
            return z
        layer = z[:, None]
        for matrix in self.matrices[:-1]:
            layer = jax.nn.relu(layer @ matrix)
        return (layer @ self.matrices[-1])[:, 0]

    def head_slope(self, z: Float[Array, " sample"]) -> Float[Array, " sample"]:
        r"""$\xi_i = N'(z_i)$, by which the residuals of the SSM are multiplied (I2)."""
        return jax.jvp(self.head, (z,), (jnp.ones_like(z),))[1]


def ssm_of(params: Params) -> DiagonalSSM:
    """The SSM inside a network's parameters.

    Args:
      params: as `SSMNetwork.init` returns them.

    Returns:
      Its a, b and c.

    Example:
      >>> params = SSMNetwork(state_dim=2).init(jax.random.key(0), jnp.ones((1, 3)))
      >>> ssm_of(params).a.shape
      (2,)
    """
    leaves = params["params"]
    return DiagonalSSM(leaves["a"], leaves["b"], leaves["c"])


def network_params(model: DiagonalSSM, *matrices: Float[Array, "fan_in fan_out"]) -> Params:
    r"""Parameters of a network from an SSM and the matrices of its head.

    Args:
      model: the SSM.
      *matrices: $D_0, D_1, \dots$; none for a head that is the identity.

    Returns:
      What `SSMNetwork(...).apply` takes, with `hidden` the inner widths of the matrices.

    Raises:
      ValueError: the matrices do not fit together.

    Example:
      >>> params = network_params(
      ...     DiagonalSSM(*jnp.ones((3, 1))), jnp.ones((1, 2)), jnp.ones((2, 1))
      ... )
      >>> network = SSMNetwork(state_dim=1, hidden=(2,))
      >>> network.apply(params, jnp.ones((1, 3))).tolist()
      [6.0]
    """
    shapes = [matrix.shape for matrix in matrices]
    inner = [(1,), *(shape[1:] for shape in shapes)]
    fits = all(len(s) == 2 and s[:1] == before for s, before in zip(shapes, inner, strict=False))
    if shapes and not (fits and shapes[-1][1] == 1 and len(shapes) > 1):
        raise ValueError(
            f"matrices have shapes {shapes}: each takes the width of the one before, from 1 to 1, "
            "and there are none or at least two"
        )
    head = {f"D{i}": matrix for i, matrix in enumerate(matrices)}
    return {"params": {"a": model.a, "b": model.b, "c": model.c, **head}}


def paper_network_teacher(width: int) -> Params:
    r"""The teacher inside a network: $y = \tfrac{m}{2}\,\mathrm{relu}(z)$ with $a = b = c = 1$.

    As an `SSMNetwork` with hidden widths (m, m): $D_0 = \mathbf 1$, $D_1 = I$,
    $D_2 = \tfrac12 \mathbf 1$.

    Args:
      width: $m \ge 1$; 15 at κ = 6 and 25 at κ = 10 in the paper.

    Returns:
      Its parameters.

    Raises:
      ValueError: `width` is no positive integer, or double precision is off.

    Example:
      >>> teacher = paper_network_teacher(4)
      >>> network = SSMNetwork(state_dim=1, hidden=(4, 4))
      >>> network.apply(teacher, jnp.array([[1.0, 1.0], [1.0, -2.0]])).tolist()
      [4.0, 0.0]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, experiments (SSM in a non-linear network).
    """
    require_x64("paper_network_teacher")
    width = require_int("width", width, minimum=1)
    one = jnp.ones(1, jnp.float64)
    return network_params(
        DiagonalSSM(one, one, one),
        jnp.ones((1, width), jnp.float64),
        jnp.eye(width, dtype=jnp.float64),
        jnp.full((width, 1), 0.5, jnp.float64),
    )
