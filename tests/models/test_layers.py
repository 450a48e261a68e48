"""S4D, LRU and Mamba-2 layers against SciPy, dense recurrences and a dense matrix."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.layer_cases import CASES, CHANNELS, INPUT, LENGTH, all_cases, drawn, jit
from scipy.signal import cont2discrete

from ssmbias.models.layers import lru, mamba2, s4d
from ssmbias.models.networks.groups import parameter_groups

RUN: dict[ModuleType, Any] = {
    s4d: jit(s4d.apply, static_argnames="method"),
    lru: jit(lru.apply, static_argnames="method"),
    mamba2: jit(mamba2.apply, static_argnames=("method", "chunk")),
}
FINAL = {module: jit(module.final) for module in (s4d, lru, mamba2)}
# Below a thousand roundings of relative size 1e-16, measured against the largest output.
ROUNDING = 1e-12
# Real modes share the code of complex ones but for two branches, which the references cover.
fewer_by_default = pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] * (c == "s4d-real")) for c in CASES]
)


def deviation(got: Any, expected: Any) -> float:
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    return float(np.max(np.abs(got - expected)) / np.max(np.abs(expected)))


# References
def dense_s4d(params: s4d.S4DParams, u: np.ndarray, rule: str = "zoh") -> np.ndarray:
    """Dense real systems of SciPy, one per channel; a complex mode is a 2 by 2 block."""
    y = np.zeros_like(u)
    for h in range(u.shape[1]):
        re = -np.exp(np.asarray(params.log_a_re)[h])
        count = len(re)
        if params.a_im is None:
            a, b, c = np.diag(re), np.ones((count, 1)), np.asarray(params.c_re)[h]
        else:
            a, b, c = np.zeros((2 * count,) * 2), np.zeros((2 * count, 1)), np.zeros(2 * count)
            for n, im in enumerate(np.asarray(params.a_im)[h]):
                block = slice(2 * n, 2 * n + 2)
                a[block, block] = [[re[n], -im], [im, re[n]]]
                b[2 * n] = 1.0
                c[block] = 2 * np.array([params.c_re[h, n], -params.c_im[h, n]])
        system = (a, b, c[None], np.zeros((1, 1)))
        a, b, *_ = cont2discrete(system, float(np.exp(params.log_dt[h])), rule)
        state = np.zeros(len(a))
        for k in range(len(u)):
            state = a @ state + b[:, 0] * u[k, h]
            y[k, h] = c @ state + float(params.d[h]) * u[k, h]
    return y


def dense_lru(params: lru.LRUParams, u: np.ndarray, conjugate: bool = False) -> np.ndarray:
    p = lru.LRUParams(*(np.asarray(leaf) for leaf in params))
    decay = np.exp(-np.exp(p.nu)) * np.exp(1j * np.exp(p.theta))
    b, c = p.b_re + 1j * p.b_im, p.c_re + (-1j if conjugate else 1j) * p.c_im
    state, y = np.zeros_like(b), np.zeros_like(u)
    for k in range(len(u)):
        state = decay[None, :] * state + b * u[k][:, None]
        y[k] = (c * state).sum(1).real + p.d * u[k]
    return y


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def dense_mamba2(params: mamba2.Mamba2Params, u: np.ndarray, decays: bool = True) -> np.ndarray:
    """The lower-triangular matrix of every head, entry by entry from explicit products."""
    p = mamba2.Mamba2Params(*(np.asarray(leaf) for leaf in params))
    inner, heads, (width, convolved) = p.norm.size, p.a_log.size, p.conv.shape
    z, xbc, dt = np.split(u @ p.in_proj, [inner, inner + convolved], axis=1)
    filtered = np.tile(p.conv_bias, (len(u), 1))
    for k in range(len(u)):
        for i in range(min(width, k + 1)):
            filtered[k] += p.conv[width - 1 - i] * xbc[k - i]
    x, b, c = np.split(silu(filtered), [inner, inner + (convolved - inner) // 2], axis=1)
    x, dt = x.reshape(len(u), heads, -1), np.log1p(np.exp(dt + p.dt_bias))
    v = np.zeros_like(x)
    for h in range(heads):
        factor = np.exp(-np.exp(p.a_log[h]) * dt[:, h]) if decays else np.ones(len(u))
        matrix = np.zeros((len(u),) * 2)
        for k in range(len(u)):
            for j in range(k + 1):
                matrix[k, j] = (c[k] @ b[j]) * np.prod(factor[j + 1 : k + 1]) * dt[j, h]
        v[:, h] = matrix @ x[:, h] + p.d[h] * x[:, h]
    v = v.reshape(len(u), inner) * silu(z)
    v /= np.sqrt((v**2).mean(1, keepdims=True) + 1e-5)
    return (v * p.norm) @ p.out_proj


REFERENCES = {
    "s4d-lin": (dense_s4d, {"rule": "euler"}),
    "s4d-real": (dense_s4d, {"rule": "euler"}),
    "lru": (dense_lru, {"conjugate": True}),
    "mamba2": (dense_mamba2, {"decays": False}),
}


@all_cases
def test_output_is_that_of_the_reference(case) -> None:
    (module, _), (reference, wrong) = CASES[case], REFERENCES[case]
    for length in (1, LENGTH):
        expected = reference(drawn(case), INPUT[:length])
        assert deviation(RUN[module](drawn(case), INPUT[:length]), expected) < ROUNDING
        assert deviation(FINAL[module](drawn(case), INPUT[:length]), expected[-1]) < ROUNDING
    # Controls: another discretisation, mode or decay is told apart, and so are two positions.
    assert deviation(expected, reference(drawn(case), INPUT, **wrong)) > 1e-3
    assert deviation(expected[-2], expected[-1]) > 0.1


@all_cases
def test_methods_agree(case) -> None:
    module, _ = CASES[case]
    first, *others = (RUN[module](drawn(case), INPUT, method=m) for m in module.METHODS)
    assert len(others) == (2 if module is mamba2 else 3)
    for y in others:
        assert deviation(y, first) < ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("module", [s4d, lru])
def test_methods_agree_on_long_sequences_with_published_starts(module) -> None:
    # Phases reach 6e3 at this length: their rounding is what is left, 6e3 times 1e-16.
    params = jit(lambda key: module.init(key, 2, 64))(jax.random.key(5))
    u = jnp.asarray(np.random.default_rng(1).normal(size=(1024, 2)))
    fast, slow = (RUN[module](params, u, method=m) for m in ("fft", "recurrence"))
    assert deviation(fast, slow) < 1e-11


def test_chunks_of_any_size_agree_and_do_not_overflow() -> None:
    # Decays of up to e^-80 per step, e^-10000 and less in all: their inverse is infinite.
    params = drawn("mamba2")._replace(a_log=np.array([5.0, -5.0, 0.0, 2.0]))
    u = np.random.default_rng(2).normal(size=(300, CHANNELS))
    expected = RUN[mamba2](params, u, method="recurrence")
    assert np.all(np.isfinite(expected))
    assert deviation(RUN[mamba2](params, u, chunk=7), expected) < ROUNDING

    def one_chunk(params):
        y = mamba2.apply(params, u, chunk=1000)
        return jnp.sum(y**2), y

    gradient, y = jit(jax.grad(one_chunk, has_aux=True))(params)
    assert deviation(y, expected) < ROUNDING
    assert all(np.all(np.isfinite(leaf)) for leaf in gradient)


@pytest.mark.parametrize("case", ["s4d-lin", "s4d-real", "lru"])
def test_kernel_is_the_response_to_an_impulse(case) -> None:
    module, _ = CASES[case]
    impulse = np.zeros((LENGTH, CHANNELS))
    impulse[0] = 1.0
    params = drawn(case)._replace(d=np.zeros(CHANNELS))
    kernel = jit(module.kernel, static_argnums=1)(drawn(case), LENGTH)  # D is not part of it
    assert deviation(kernel, REFERENCES[case][0](params, impulse)) < ROUNDING
    assert kernel[0, 0] != drawn(case).d[0]


@fewer_by_default
def test_outputs_depend_on_the_past_only(case) -> None:
    module, _ = CASES[case]
    changed = INPUT.copy()
    changed[20] += 1.0
    for method in module.METHODS:
        before, after = (
            np.asarray(RUN[module](drawn(case), u, method=method)) for u in (INPUT, changed)
        )
        assert deviation(after[:20], before[:20]) < ROUNDING
        # Control: at that step and later every channel changes.
        assert np.all(np.abs(after - before)[20] > 1e-4)
        assert np.all(np.max(np.abs(after - before)[21:], axis=0) > 1e-6)


@all_cases
def test_the_dtype_of_the_input_is_kept(case) -> None:
    module, options = CASES[case]
    half = jax.eval_shape(module.apply, drawn(case), INPUT.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    draw = functools.partial(module.init, channels=4, state_dim=6, **options, dtype="float32")
    drawn_dtypes = {x.dtype for x in jax.tree.leaves(jax.eval_shape(draw, jax.random.key(0)))}
    assert drawn_dtypes == {np.dtype("float32")}
    params = jax.tree.map(lambda x: x.astype(np.float32), drawn(case))
    y, last = (f[module](params, INPUT.astype(np.float32)) for f in (RUN, FINAL))
    assert y.dtype == last.dtype == jnp.float32
    # Some hundred roundings of 6e-8.
    assert deviation(y, RUN[module](drawn(case), INPUT)) < 1e-5


def test_half_precision_is_filtered_in_the_precision_of_the_parameters() -> None:
    u = INPUT.astype(jnp.bfloat16)
    y = np.asarray(RUN[lru](drawn("lru"), u), float)
    expected = dense_lru(drawn("lru"), np.asarray(u, float))
    assert deviation(y, expected) <= 2**-8  # one rounding to 8 bits


@fewer_by_default
def test_gradients_are_those_of_finite_differences(case) -> None:
    module, _ = CASES[case]
    weights = np.random.default_rng(3).normal(size=(9, CHANNELS))

    def loss(params, u):
        return jnp.sum(weights[: len(u)] * module.apply(params, u)) + jnp.sum(
            module.final(params, u) ** 2
        )

    both = jit(jax.value_and_grad(loss, argnums=(0, 1)))
    arguments = (drawn(case), INPUT[:9])
    gradients = both(*arguments)[1]
    leaves, tree = jax.tree.flatten(arguments)
    rng = np.random.default_rng(4)
    # Steps of 1e-5: truncation 1e-10, rounding 1e-16 / 1e-5 = 1e-11, both times the size of
    # the third derivative and of the value.
    for i, slope in enumerate(jax.tree.leaves(gradients)):
        direction = rng.normal(size=leaves[i].shape)
        ends = []
        for step in (1e-5, -1e-5):
            moved = list(leaves)
            moved[i] = leaves[i] + step * direction
            ends.append(float(both(*jax.tree.unflatten(tree, moved))[0]))
        expected = float(np.sum(slope * direction))
        assert abs((ends[0] - ends[1]) / 2e-5 - expected) < 1e-7 * max(1.0, abs(expected))
        assert abs(expected) > 1e-4  # control: there is something to get wrong

    for u in (np.zeros((1, CHANNELS)), np.zeros((9, CHANNELS))):
        found = both(drawn(case), u)[1]
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


@fewer_by_default
def test_maps_over_parameters_and_sequences(case) -> None:
    module, _ = CASES[case]
    several = [jax.tree.map(lambda x, s=s: s * x, drawn(case)) for s in (0.9, 1.0, 1.1)]
    inputs = np.random.default_rng(5).normal(size=(3, LENGTH, CHANNELS))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *several)
    mapped = jit(jax.vmap(module.apply))(stacked, inputs)
    one_by_one = [RUN[module](p, u) for p, u in zip(several, inputs, strict=True)]
    assert deviation(mapped, np.stack(one_by_one)) < ROUNDING
    assert deviation(mapped[0], mapped[1]) > 0.1


def test_hold_is_exact_for_short_steps() -> None:
    # K_0 = 2 Re sum C dt (1 + z/2 + z^2/6 + ...) with |z| < 1e-7: two terms suffice.
    params = drawn("s4d-lin")._replace(log_dt=np.full(CHANNELS, np.log(1e-8)))
    c = np.asarray(params.c_re) + 1j * np.asarray(params.c_im)
    a = -np.exp(np.asarray(params.log_a_re)) + 1j * np.asarray(params.a_im)
    expected = 2e-8 * (c * (1 + 1e-8 * a / 2)).sum(1).real
    np.testing.assert_allclose(
        jit(s4d.kernel, static_argnums=1)(params, 1)[0], expected, rtol=1e-13
    )
    naive = 2 * (c * (np.exp(1e-8 * a) - 1) / a).sum(1).real
    assert np.max(np.abs(naive / expected - 1)) > 1e-10  # control: cancellation
    # Where the series takes over nothing jumps: expm1 and series within 1e-5 * 1e-16 / 1e-5.
    z = jnp.array([0.99e-5, 1.01e-5])
    value, slope = jit(jax.vmap(jax.value_and_grad(s4d.hold)))(z)
    np.testing.assert_allclose(value, 1 + z / 2 + z**2 / 6, rtol=1e-15)
    np.testing.assert_allclose(slope, 0.5 + z / 3, rtol=1e-9)


@all_cases
def test_groups(case) -> None:
    labels = parameter_groups(drawn(case))
    assert jax.tree.structure(labels) == jax.tree.structure(drawn(case))
    special = {name for name, label in labels._asdict().items() if label == "ssm"}
    expected = {"s4d-lin": {"log_dt", "log_a_re", "a_im"}, "s4d-real": {"log_dt", "log_a_re"}}
    assert special == expected.get(case, set())
