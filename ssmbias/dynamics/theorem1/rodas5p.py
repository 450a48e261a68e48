"""Rodas5P for Jacobians that are diagonal plus rank two, with lanes as the last axis.

Rodas5P is the eight-stage, stiffly accurate Rosenbrock method of order five by G. Steinebach
(Construction of Rosenbrock-Wanner method Rodas5P and numerical benchmarks within the Julia
Differential Equations package, BIT Numerical Mathematics 63:27, 2023). The coefficients below
are the published ones in the transformed variables in which a stage reads

    W k_i = f(u_i) + Σ_{j<i} (C_ij / h) k_j,   u_i = y + Σ_{j<i} A_ij k_j,   W = I/(hγ) - J.

Stages seven and eight sit at u_6 + k_6 and u_7 + k_7, the step ends at u_8 + k_8, and k_8
itself is the error estimate (embedded order four).
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float

from ssmbias.core.types import Array

GAMMA = 0.21193756319429014

STAGE_WEIGHTS: tuple[tuple[float, ...], ...] = (
    (),
    (3.0,),
    (2.849394379747939, 0.45842242204463923),
    (-6.954028509809101, 2.489845061869568, -10.358996098473584),
    (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
    (
        -7.502846399306121,
        2.561846144803919,
        -11.627539656261098,
        -0.18268767659942256,
        0.030198172008377946,
    ),
)
"""A_ij for the first six stages; the later ones add the previous increment."""

COUPLINGS: tuple[tuple[float, ...], ...] = (
    (),
    (-14.155112264123755,),
    (-17.97296035885952, -2.859693295451294),
    (147.12150275711716, -1.41221402718213, 71.68940251302358),
    (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
    (
        24.854864614690072,
        -3.0009227002832186,
        47.4931110020768,
        5.5814197821558125,
        -0.6610691825249471,
    ),
    (
        30.91273214028599,
        -3.1208243349937974,
        77.79954646070892,
        34.28646028294783,
        -19.097331116725623,
        -28.087943162872662,
    ),
    (
        37.80277123390563,
        -3.2571969029072276,
        112.26918849496327,
        66.9347231244047,
        -40.06618937091002,
        -54.66780262877968,
        -9.48861652309627,
    ),
)
"""C_ij of the transformed scheme."""

NUM_STAGES = len(COUPLINGS)
ERROR_ORDER = 5
"""The error estimate shrinks like h**5, so the controller uses the fifth root."""


def stage_sum(weights: tuple[float, ...], increments: list[Array]) -> Array:
    """Σ_j weights_j increments_j for one stage (at least one weight)."""
    total = weights[0] * increments[0]
    for weight, increment in zip(weights[1:], increments[1:], strict=False):
        total = total + weight * increment
    return total


class DiagonalPlusRankTwo(NamedTuple):
    r"""Factorised W = diag(1/e) + α P Pᵀ + β 1 1ᵀ, one matrix for each lane.

    Woodbury's identity turns a solve into two inner products and a 2x2 system: O(state_dim).

    Attributes:
      e: reciprocal of the diagonal part.
      ep: e P.
      alpha, beta: weights of the two rank-one terms.
      m11, m12, m21, m22: entries of (I + Vᵀ diag(e) U), U = (αP, β1), V = (P, 1).
      inverse_det: 1 / det of that 2x2 matrix.
    """

    e: Float[Array, "state lane"]
    p: Float[Array, "state lane"]
    ep: Float[Array, "state lane"]
    alpha: Float[Array, " lane"] | float
    beta: Float[Array, " lane"]
    m11: Float[Array, " lane"]
    m12: Float[Array, " lane"]
    m21: Float[Array, " lane"]
    m22: Float[Array, " lane"]
    inverse_det: Float[Array, " lane"]


def factorise(
    diagonal: Float[Array, "state lane"],
    p: Float[Array, "state lane"],
    alpha: float,
    beta: Float[Array, " lane"],
) -> DiagonalPlusRankTwo:
    """Prepare solves with diag(diagonal) + alpha p pᵀ + beta 1 1ᵀ for each lane."""
    e = 1.0 / diagonal
    ep = e * p
    cross = ep.sum(0)
    m11 = 1.0 + alpha * (ep * p).sum(0)
    m22 = 1.0 + beta * e.sum(0)
    m12 = beta * cross
    m21 = alpha * cross
    return DiagonalPlusRankTwo(
        e, p, ep, alpha, beta, m11, m12, m21, m22, 1.0 / (m11 * m22 - m12 * m21)
    )


def solve(
    w: DiagonalPlusRankTwo, rhs: Float[Array, "state lane"]
) -> tuple[Float[Array, "state lane"], Float[Array, " lane"], Float[Array, " lane"]]:
    """Solve W k = rhs; also return Pᵀk and 1ᵀk, which the 2x2 system yields for free."""
    s1 = (w.ep * rhs).sum(0)
    s2 = (w.e * rhs).sum(0)
    p_k = (w.m22 * s1 - w.m12 * s2) * w.inverse_det
    one_k = (w.m11 * s2 - w.m21 * s1) * w.inverse_det
    k = w.e * (rhs - (w.alpha * p_k)[None] * w.p - (w.beta * one_k)[None])
    return k, p_k, one_k
