r"""Prediction M5: how the time to leave a small start depends on the start's scale.

Near zero only the smallest lag $l$ that the data excite pulls, with a constant force
$\omega = 2[G(h^*-h)]_l$. State $j$ then climbs $F_j = \omega\,c_j b_j a_j^l$, which is
homogeneous of degree $D$ in what is trained. Scaling the trained leaves by $\alpha$ scales the
flow's time by $\alpha^{-(D-2)}$: that is the exponent. Trained leaves also share one clock,
$$\frac{\mathrm d}{\mathrm dt} b_j^2 = \frac{\mathrm d}{\mathrm dt} c_j^2
  = \frac1l \frac{\mathrm d}{\mathrm dt} a_j^2 = 2F_j,$$
so that the time at which the leading flow diverges is one integral.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ssmbias.core.checks import as_float64, is_concrete, require_int
from ssmbias.core.types import Array
from ssmbias.data import LagGram, TrainingSet, require_training_set
from ssmbias.models.ssm import DiagonalSSM, require_ssm

_REACH, _NODES = 4.5, 241
"""Double-exponential quadrature: at the ends the variable is e^{±70} times its scale, where an
integrand that falls like its inverse root is below rounding; a node every 0.04 leaves 1e-13."""

_U = np.linspace(-_REACH, _REACH, _NODES)
_LOG_X = 0.5 * np.pi * np.sinh(_U)
_WEIGHT = 0.5 * np.pi * np.cosh(_U) * (_U[1] - _U[0])


def first_lag(data: LagGram | TrainingSet, *, minimum: int = 0) -> int:
    r"""The smallest lag at which the data are not zero: the one number that poison changes.

    Special sequences are non-zero at small lags only, so that adding them lowers it.

    Args:
      data: sequences with weights, or their lag Gram matrix; not traced.
      minimum: lags below are passed over. With $B$ and $C$ fixed take 1: the response at lag 0
        is then a constant that nothing trained can change.

    Returns:
      The lag.

    Raises:
      ValueError: no lag from `minimum` on is excited, or the data are being traced.

    Example:
      >>> from ssmbias.data import theorem1_gram
      >>> [first_lag(theorem1_gram(10, 7, strength)) for strength in (0.0, 1.0)]
      [6, 1]

    References:
      Derivation in docs/theory.md (M5).
    """
    if isinstance(data, TrainingSet):
        inputs, weights = require_training_set(data)
        size = jnp.max(jnp.abs(inputs[:, ::-1]) * (weights[:, None] > 0), axis=0)
    else:
        size = jnp.abs(jnp.diagonal(as_float64("data.gram", data.gram, ndim=2)))
    minimum = require_int("minimum", minimum, minimum=0)
    if not is_concrete(size):
        raise ValueError("data: being traced; read the lag off before jax.jit or jax.vmap")
    excited = np.flatnonzero(np.asarray(size)[minimum:])
    if not excited.size:
        raise ValueError(f"data: no lag from {minimum} on is excited, so nothing leaves the start")
    return minimum + int(excited[0])


def escape_exponent(lag: int, trainable: tuple[str, ...] = ("a", "b", "c")) -> int:
    r"""The exponent $k$ of the escape time $t \propto \alpha^{-k}$ in the scale of the start.

    $k = D - 2$, where $D = l\,[a] + [b] + [c]$ counts the trained factors of $c_j b_j a_j^l$:
    $l - 2$ with $B$, $C$ fixed and $l$ with all of $a, b, c$ trained from scale $\alpha$. For
    $k = 0$ the law is $t \propto \log(1/\alpha)$, for $k = -1$ the time tends to a constant, with a
    difference in proportion to $\alpha$. All three in one: $-\mathrm dt/\mathrm d\log\alpha \propto
    \alpha^{-k}$.

    Args:
      lag: the smallest lag with non-zero data (`first_lag`), at least 1 unless $b$ or $c$ is
        trained.
      trainable: the trained leaves, which all have the scale $\alpha$; "a" among them.

    Returns:
      The exponent $k \ge -1$.

    Raises:
      ValueError: the lag is out of range, or `trainable` is not as above.

    Example:
      >>> [escape_exponent(lag, ("a",)) for lag in (1, 2, 3, 6)]
      [-1, 0, 1, 4]
      >>> [escape_exponent(lag, ("a", "b", "c")) for lag in (0, 1, 2, 6)]
      [0, 1, 2, 6]

    References:
      Derivation in docs/theory.md (M5).
    """
    lag, outer = _require_mode(lag, trainable)
    return lag + len(outer) - 2


def initial_force(
    start: DiagonalSSM, data: LagGram, trainable: tuple[str, ...] = ("a", "b", "c")
) -> Float[Array, " lag"]:
    r"""The force on each lag as the trained leaves tend to zero, $2[G(h^*-h)]_l$.

    There $h = 0$, except that $h_0 = \sum_j b_j c_j$ stays where $B$ and $C$ are both fixed.

    Args:
      start: the student; only what is fixed of it matters.
      data: lag Gram matrix and the teacher's response.
      trainable: the trained leaves.

    Returns:
      One force a lag.

    Raises:
      ValueError: a malformed model, or `trainable` does not hold "a" or is no set of leaves.

    Example:
      >>> from ssmbias.data import theorem1_gram
      >>> from ssmbias.models import theorem1_student
      >>> student = theorem1_student(jnp.zeros(2))
      >>> initial_force(student, theorem1_gram(2, 5, 1.0), ("a",)).tolist()
      [0.0, 1.0, 0.0, 0.0, 1.0]
    """
    start = require_ssm("start", start)
    _, outer = _require_mode(1, trainable)
    fixed = 0.0 if outer else jnp.sum(start.b * start.c)
    response = jnp.zeros_like(data.response).at[0].set(fixed)
    return 2.0 * (data.gram @ (data.response - response))


def blowup_time(
    start: DiagonalSSM,
    data: LagGram,
    lag: int,
    trainable: tuple[str, ...] = ("a", "b", "c"),
) -> Float[Array, ""]:
    r"""The escape time of a small start to leading order, where it is a power law ($k \ge 1$).

    The time at which the first state of the leading flow diverges. It is exactly proportional to
    $\alpha^{-k}$, and the ratio of the escape time to it tends to 1, whatever the level of
    the loss that counts as escape. For $F_j > 0$ it is
    $$T_j = \int_0^\infty \frac{\mathrm ds}{2|\omega|\,
      \sqrt{b_j^2+s}\,\sqrt{c_j^2+s}\,(a_j^2+ls)^{l/2}},$$
    a fixed leaf keeping its square. With $B = C = 1$ this is $a_j^{2-l}/(l(l-2)\omega)$; with all
    trained and $l = 1$ it is Carlson's $R_F(a_j^2, b_j^2, c_j^2)/|\omega|$. A state with $F_j < 0$
    shrinks first, until its smallest trained leaf has changed sign (which takes twice the
    integral down to there), or for ever if that leaf is $a_j$ and $l \ge 2$.

    Args:
      start: the student at its start, entries of any sign.
      data: lag Gram matrix and the teacher's response; may be traced.
      lag: the smallest lag with non-zero data (`first_lag`).
      trainable: the trained leaves; "a" among them.

    Returns:
      The time of the first state to escape; infinite if none does.

    Raises:
      ValueError: the law is not a power (see `escape_exponent`), or as for `escape_exponent`.

    Example:
      >>> from ssmbias.data import theorem1_gram
      >>> from ssmbias.models import theorem1_student
      >>> student = theorem1_student(jnp.array([0.01, 0.005]))
      >>> time = blowup_time(student, theorem1_gram(2, 7, 0.0), 6, ("a",))
      >>> f"{time:.6e}"  # a_1^{-4} / (2 * 6 * 4)
      '2.083333e+06'

    References:
      Derivation in docs/theory.md (M5); Carlson (1995), Numer. Algorithms 10, 13-26.
    """
    exponent = escape_exponent(lag, trainable)
    if exponent < 1:
        raise ValueError(
            f"lag={lag} with trainable={trainable}: the exponent is {exponent}, no power law; "
            "take escape_log_slope for 0 (below 0 the time tends to a constant)"
        )
    start = require_ssm("start", start)
    force = initial_force(start, data, trainable)[lag]
    product, shared, others = _leaves(start, lag, trainable)
    smallest = jnp.min(shared, axis=0)
    # log of 1 / (2 |F| without the trained leaves); the l^{l/2} is that of a^l = (l a²/l)^{l/2}.
    log_front = -jnp.log(2.0 * jnp.abs(force) * others) - 0.5 * lag * jnp.log(float(lag))
    powers = jnp.array([float(lag)] + [1.0] * (shared.shape[0] - 1))

    def integrand(x: Array) -> Array:
        """At x = s + min, over nodes and states; x vanishes where the smallest leaf does."""
        distance = (shared - smallest[None])[:, None, :] + x[None]
        return jnp.exp(log_front[None] - 0.5 * jnp.einsum("i,inj->nj", powers, jnp.log(distance)))

    weight = jnp.asarray(_WEIGHT)[:, None]
    scale = jnp.max(shared, axis=0)[None]
    outward = scale * jnp.exp(jnp.asarray(_LOG_X))[:, None]
    upward = jnp.sum(weight * outward * integrand(smallest[None] + outward), axis=0)
    # tanh-sinh on (0, min): both ends as logistic functions of the same nodes.
    share = (1.0 / (1.0 + jnp.exp(-2.0 * jnp.asarray(_LOG_X))))[:, None]
    inward = smallest[None] * share
    inward = jnp.where(inward > 0, inward, 1e-290)
    downward = jnp.sum(2.0 * weight * inward * (1.0 - share) * integrand(inward), axis=0)
    falls = product * jnp.sign(force) < 0
    time = upward + jnp.where(falls, 2.0 * downward, 0.0)
    return jnp.min(jnp.where(_escapes(start, lag, trainable, force), time, jnp.inf))


def escape_log_slope(
    start: DiagonalSSM,
    data: LagGram,
    lag: int,
    trainable: tuple[str, ...] = ("a", "b", "c"),
) -> Float[Array, ""]:
    r"""The slope of the escape time in $\log(1/\alpha)$, where that is the law ($k = 0$).

    There the leading flow is linear in the trained leaves and grows at the rate $|\omega|\,l^{l/2}
    |f_j|$, $f_j$ the product of the fixed leaves: $2\omega b_j c_j$ for lag 2 with $B$, $C$ fixed,
    $|\omega|$ for lag 0 with all trained. The slope is the inverse of the largest rate.

    Args:
      start: the student at its start, entries of any sign.
      data: lag Gram matrix and the teacher's response; may be traced.
      lag: the smallest lag with non-zero data (`first_lag`).
      trainable: the trained leaves; "a" among them.

    Returns:
      The slope; infinite if no state escapes.

    Raises:
      ValueError: the law is not logarithmic (see `escape_exponent`), or as for
        `escape_exponent`.

    Example:
      >>> data = LagGram(jnp.diag(jnp.array([0.0, 0.0, 1.0])), jnp.ones(3))
      >>> student = DiagonalSSM(jnp.array([0.2, 0.1]), jnp.ones(2), jnp.ones(2))
      >>> float(escape_log_slope(student, data, 2, ("a",)))  # da/dt = 4 a
      0.25

    References:
      Derivation in docs/theory.md (M5).
    """
    exponent = escape_exponent(lag, trainable)
    if exponent != 0:
        raise ValueError(
            f"lag={lag} with trainable={trainable}: the exponent is {exponent}, no logarithm; "
            "take blowup_time for 1 and above"
        )
    start = require_ssm("start", start)
    force = initial_force(start, data, trainable)[lag]
    _, _, others = _leaves(start, lag, trainable)
    rate = jnp.abs(force) * others * float(max(lag, 1)) ** (0.5 * lag)
    return 1.0 / jnp.max(jnp.where(_escapes(start, lag, trainable, force), rate, 0.0))


def _require_mode(lag: int, trainable: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """The lag, and which of b and c are trained."""
    names = tuple(trainable)
    if len(set(names)) != len(names) or "a" not in names or not set(names) <= {"a", "b", "c"}:
        raise ValueError(
            f"trainable={trainable!r}: name 'a' and none, one or both of 'b' and 'c'; without 'a' "
            "all lags pull alike and no first one matters"
        )
    outer = tuple(name for name in ("b", "c") if name in names)
    return require_int("lag", lag, minimum=0 if outer else 1), outer


def _leaves(
    start: DiagonalSSM, lag: int, trainable: tuple[str, ...]
) -> tuple[Float[Array, " state"], Float[Array, "leaf state"], Float[Array, " state"]]:
    """Products c b a^l; squares that share a clock (a²/l first, if it moves); |fixed factors|."""
    squares = [start.a**2 / lag] if lag else []
    others = jnp.ones_like(start.a)
    for name in ("b", "c"):
        leaf = getattr(start, name)
        if name in trainable:
            squares.append(leaf**2)
        else:
            others = others * jnp.abs(leaf)
    product = start.b * start.c
    for _ in range(lag):
        product = product * start.a
    return product, jnp.stack(squares), others


def _escapes(
    start: DiagonalSSM, lag: int, trainable: tuple[str, ...], force: Array
) -> Bool[Array, " state"]:
    """Whether the leading flow of a state diverges: it grows, or can change the sign of F.

    The smallest of the shared squares vanishes first. It passes through zero unless another one
    vanishes with it, or it is that of a with l >= 2: then the state ends on a critical point.
    """
    product, shared, others = _leaves(start, lag, trainable)
    grows = product * jnp.sign(force) > 0
    smallest = jnp.min(shared, axis=0)
    crosses = jnp.sum(shared == smallest[None], axis=0) == 1
    if lag >= 2:
        crosses = crosses & (shared[0] > smallest)
    return (grows | crosses) & (others > 0) & (force != 0)
