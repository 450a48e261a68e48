"""How layers start, and what they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.layer_cases import CASES, CHANNELS, INPUT, all_cases, drawn, jit

from ssmbias.models.layers import lru, mamba2, s4d


def test_starts_of_s4d() -> None:
    params = jit(lambda key: s4d.init(key, 200, 64))(jax.random.key(0))
    dt = np.exp(np.asarray(params.log_dt))
    assert np.all((dt >= 0.001) & (dt <= 0.1))
    # Log-uniform: 200 draws have their median within 5 sd (5 * 0.035 of the span) of the middle.
    assert abs(np.median(params.log_dt) - np.log(0.01)) < 0.18 * np.log(100)
    np.testing.assert_allclose(-np.exp(params.log_a_re), -0.5)
    np.testing.assert_allclose(params.a_im[3], np.pi * np.arange(32))
    # 6400 draws: the sd is known to 0.9 %.
    for leaf in (params.c_re, params.c_im):
        assert abs(np.std(leaf) - np.sqrt(0.5)) < 0.05 * np.sqrt(0.5)
    options = {"variant": "real", "d_scale": 0, "c_scale": 2}
    real = jit(lambda key: s4d.init(key, 200, 64, **options))(jax.random.key(0))
    np.testing.assert_allclose(-np.exp(real.log_a_re[7]), -1 - np.arange(64))
    assert abs(np.std(real.c_re) - 2) < 0.05
    assert not np.any(real.d)


def test_starts_of_lru() -> None:
    options = {"r_min": 0.4, "r_max": 0.9, "max_phase": 0.3, "b_scale": 0.1}
    params = jit(lambda key: lru.init(key, 5, 2000, **options))(jax.random.key(0))
    radius, phase = np.exp(-np.exp(params.nu)), np.exp(params.theta)
    assert 0.4 <= radius.min() < 0.41
    assert 0.89 < radius.max() <= 0.9
    assert 0 < phase.min() < 0.01
    assert 0.29 < phase.max() <= 0.3
    # Uniform by area: 2000 draws of variance (0.81 - 0.16)^2 / 12 have an error of 0.0042.
    assert abs(np.mean(radius**2) - 0.485) < 0.021
    assert abs(np.mean(radius) - 0.65) > 0.01  # control: uniform by radius
    # 10 000 draws: the sd is known to 0.7 %.
    for leaf, sd in ((params.b_im, 0.1 / np.sqrt(4000)), (params.c_re, 1 / np.sqrt(2000))):
        assert abs(np.std(leaf) / sd - 1) < 0.04


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_logs_of_lru_are_finite_at_the_ends(dtype, monkeypatch) -> None:
    for end in (0.0, 1.0):
        monkeypatch.setattr(
            jax.random, "uniform", lambda key, shape, dtype, end=end: jnp.full(shape, end, dtype)
        )
        for radii in ((0.0, 1.0), (1.0, 1.0), (0.0, 1e-30)):
            params = lru.init(
                jax.random.key(0),
                1,
                2,
                r_min=radii[0],
                r_max=radii[1],
                max_phase=1e-38,
                dtype=dtype,
            )
            assert all(np.all(np.isfinite(leaf)) for leaf in params)


KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: m.init(KEY, 0, 4), "channels=0"),
        (lambda m: m.init(KEY, 64, -2), "state_dim=-2"),
        (lambda m: m.init(KEY, 64, 2.0), "state_dim=2.0"),
        (lambda m: m.init(KEY, 64, 4, colour="red"), "colour='red'"),
        (lambda m: m.init(KEY, 64, 4, dtype="float16"), "dtype='float16'"),
        (lambda m: m.init(KEY, 64, 4, dtype="nonsense"), "dtype='nonsense'"),
    ],
)
@pytest.mark.parametrize("module", [s4d, lru, mamba2])
def test_bad_sizes_and_options_are_named(module, make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make(module)


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (s4d, {"state_dim": 5}, "state_dim=5"),
        (s4d, {"variant": "legs"}, "variant='legs'"),
        (s4d, {"dt_min": 0}, "dt_min=0"),
        (s4d, {"dt_min": 0.1, "dt_max": 0.01}, "dt_max=0.01"),
        (s4d, {"c_scale": "1"}, "c_scale='1'"),
        (lru, {"r_min": -0.1}, "r_min=-0.1"),
        (lru, {"r_min": 0.5, "r_max": 0.4}, "r_min=0.5"),
        (lru, {"r_max": 1.1}, "r_max=1.1"),
        (lru, {"max_phase": 0}, "max_phase=0"),
        (lru, {"b_scale": float("nan")}, "b_scale=nan"),
        (mamba2, {"head_dim": 3}, "head_dim=3"),
        (mamba2, {"expand": 0}, "expand=0"),
        (mamba2, {"conv_width": 0}, "conv_width=0"),
    ],
)
def test_bad_options_of_a_layer_are_named(module, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        module.init(KEY, **{"channels": 4, "state_dim": 4, **options})


@pytest.mark.parametrize(
    ("u", "message"),
    [
        (np.ones((3, CHANNELS), int), "dtype int64"),
        (np.ones((3, CHANNELS), complex), "dtype complex128"),
        ([[1.0] * CHANNELS], "list"),
        (np.ones(CHANNELS), r"shape \(4,\)"),
        (np.ones((2, 3, CHANNELS)), "map over sequences with jax.vmap"),
        (np.ones((3, CHANNELS + 1)), "the layer has 4 channels"),
        (np.ones((0, CHANNELS)), "at least one element"),
    ],
)
@all_cases
def test_bad_sequences_are_named(case, u, message) -> None:
    module, _ = CASES[case]
    for function in (module.apply, module.final):
        with pytest.raises(ValueError, match=message):
            function(drawn(case), u)


@all_cases
def test_bad_methods_and_foreign_parameters_are_named(case) -> None:
    module, _ = CASES[case]
    with pytest.raises(ValueError, match="method='magic'"):
        module.apply(drawn(case), INPUT, method="magic")
    for function in (module.apply, module.final):
        with pytest.raises(ValueError, match="params: dict"):
            function(drawn(case)._asdict(), INPUT)
        with pytest.raises(ValueError, match="params: tuple"):
            function(tuple(drawn(case)), INPUT)
    if module is mamba2:
        with pytest.raises(ValueError, match="chunk=0"):
            module.apply(drawn(case), INPUT, chunk=0)
    else:
        with pytest.raises(ValueError, match="length=0"):
            module.kernel(drawn(case), 0)
