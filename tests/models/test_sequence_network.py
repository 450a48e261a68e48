"""Networks around the layers: against NumPy, sizes, dropout, batch norm, groups, optimiser."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.network_cases import CONFIGS, built, count, gelu, inputs, jit

from ssmbias.models.networks.config import LAYERS, SequenceConfig, cifar_config, f1_config
from ssmbias.models.networks.sequence import SequenceNetwork, layer_params

APPLY = {name: jit(layer.apply) for name, layer in LAYERS.items()}


def layer_norm(p: Any, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred / spread * p["scale"] + p["bias"]


def dense(p: Any, x: np.ndarray) -> np.ndarray:
    return x @ p["kernel"] + p.get("bias", 0.0)


def numpy_output(config: SequenceConfig, variables: Any, x: np.ndarray) -> np.ndarray:
    """Every position of every layer, whatever the pooling; the layers have tests of their own."""
    p = jax.tree.map(np.asarray, variables["params"])
    x = dense(p["encoder"], x)
    for i in range(config.num_layers):
        block = p[f"block_{i}"]
        branch = np.asarray(APPLY[config.layer](layer_params(config, p, i), x))
        if config.activation == "gelu":
            branch = gelu(branch)
        if config.layer != "mamba2":
            value, gate = np.split(dense(block["glu"], branch), 2, axis=1)
            branch = value / (1 + np.exp(-gate))
        x = x + branch
        if config.block != "plain":  # without dropout the two others are the same
            x = layer_norm(block["norm"], x)
    x = x[-1] if config.pooling == "last" else x.mean(0)
    if config.final_norm:
        x = layer_norm(p["norm"], x)
    if config.head_width is not None:
        x = dense(p["head"]["hidden"], x)
        x = gelu(x) if config.head_activation == "gelu" else np.maximum(x, 0)
    return dense(p["head"]["out"], x)


@pytest.mark.parametrize(
    "name", ["f1", "two", "s4d", pytest.param("lru", marks=pytest.mark.slow), "mamba2"]
)
def test_output_is_encoder_blocks_pooling_head(name) -> None:
    network, variables = built(name)
    # Scaled, so that no part hides behind another.
    variables = jax.tree.map(lambda x: 1.3 * x, variables)
    x = inputs(CONFIGS[name])
    y = jit(network.apply)(variables, x)
    expected = numpy_output(CONFIGS[name], variables, x)
    assert y.shape == (CONFIGS[name].num_outputs,)
    # Some hundred operations on numbers of order one.
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-12)
    # Control: with the other pooling it is another number.
    other = {"last": "mean", "mean": "last"}[CONFIGS[name].pooling]
    wrong = numpy_output(dataclasses.replace(CONFIGS[name], pooling=other), variables, x)
    assert np.max(np.abs(wrong - expected)) > 1e-4


@pytest.mark.slow
def test_a_layer_that_sees_through_the_encoder_gives_the_same() -> None:
    config = dataclasses.replace(CONFIGS["f1"], features=2, dense_init="torch", encoder_sd=None)
    x = np.random.default_rng(3).normal(size=(9, 2))
    network = SequenceNetwork(config)
    variables = network.init(jax.random.key(0), x)
    # A control dtype that is written out takes the other way.
    plain = SequenceNetwork(dataclasses.replace(config, compute_dtype="float64"))
    found, expected = (n.apply(variables, x) for n in (network, plain))
    # Sums of nine times eight products in another order: some last bits.
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert not np.allclose(found, plain.apply(variables, x[::-1]), rtol=1e-3)
    assert variables["params"]["encoder"]["kernel"].shape == (2, config.channels)


def test_of_the_last_layer_only_what_is_read_is_computed() -> None:
    # A convolution shows as FFTs: none for one layer, some for two or for the mean.
    for name, change, expected in (
        ("f1", {}, False),
        ("two", {}, True),
        ("f1", {"pooling": "mean"}, True),
    ):
        config = dataclasses.replace(CONFIGS[name], **change)
        # Long enough for FFTs: short sequences are convolved by a matrix.
        long = jnp.ones((65, config.features))
        traced = jax.make_jaxpr(SequenceNetwork(config).apply)(built(name)[1], long)
        assert ("fft" in str(traced)) is expected


def test_published_sizes() -> None:
    assert count(cifar_config("s4d")) == 201_482
    assert count(cifar_config("lru")) == 265_994
    # in_proj, conv with biases; dt bias, A and D of 4 heads; RMSNorm, out_proj; layer norm
    block = 128 * 548 + 5 * 288 + 3 * 4 + 256 + 256 * 128 + 256
    stem = 9 * 3 * 64 + 2 * 64 + 16 * 64 * 128 + 2 * 128
    assert count(cifar_config("mamba2")) == stem + 4 * block + 256 + 1290


def test_starts_follow_the_configuration() -> None:
    network = SequenceNetwork(f1_config(num_layers=2))  # blocks have draws of their own
    keys = jax.random.split(jax.random.key(0), 200)
    params = jit(jax.vmap(network.init, in_axes=(0, None)))(keys, inputs(f1_config()))["params"]
    # 1600 draws: the sd is known to 1.8 %.
    assert abs(np.std(params["encoder"]["kernel"]) / 0.3 - 1) < 0.08
    for part in (params["encoder"], params["block_0"]["glu"], params["head"]["out"]):
        assert not np.any(part["bias"])
    ssm = params["block_0"]["ssm"]
    assert not np.any(ssm["d"])
    assert 0.9 < np.exp(-np.exp(ssm["nu"])).max() <= 0.999
    assert np.exp(ssm["theta"]).max() <= math.pi / 100
    assert abs(np.std(ssm["b_re"]) * math.sqrt(32) / 0.1 - 1) < 0.05  # 25600 draws
    assert not np.allclose(ssm["nu"], params["block_1"]["ssm"]["nu"])
    # As PyTorch's: uniform on 1/sqrt(fan-in), biases too.
    head = built("s4d")[1]["params"]["head"]["out"]
    for leaf in (head["kernel"], head["bias"]):
        assert 0 < np.max(np.abs(leaf)) <= 0.5


@pytest.mark.parametrize("tied", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_dropout(tied) -> None:
    # The last thing that "post_norm_inner" does is dropout: zeros in its output tell.
    changes = {"dropout": 0.5, "block": "post_norm_inner", "num_layers": 1, "tied_dropout": tied}
    config = dataclasses.replace(CONFIGS["s4d"], **changes)
    network = SequenceNetwork(config)
    variables = jit(network.init)(jax.random.key(1), inputs(config))

    @functools.partial(jit, static_argnames="train")
    def run(key, train):
        return network.apply(
            variables,
            inputs(config),
            train=train,
            rngs={"dropout": key},
            capture_intermediates=lambda module, _: module.name == "block_0",
            mutable="intermediates",
        )

    y, state = run(jax.random.key(0), True)
    dropped = np.asarray(state["intermediates"]["block_0"]["__call__"][0]) == 0
    assert 0 < dropped.mean() < 1
    assert np.all(dropped == dropped[:1]) == tied
    assert not np.array_equal(y, run(jax.random.key(1), True)[0])
    still, state = run(jax.random.key(0), False)
    np.testing.assert_array_equal(still, run(jax.random.key(1), False)[0])
    assert not np.any(state["intermediates"]["block_0"]["__call__"][0] == 0)


@functools.partial(jit, static_argnums=0)
def stem_tokens(network: SequenceNetwork, variables: Any, x: np.ndarray) -> jax.Array:
    state = network.apply(
        variables,
        x,
        capture_intermediates=lambda module, _: module.name == "encoder",
        mutable="intermediates",
    )[1]
    return state["intermediates"]["encoder"]["__call__"][0]


def test_tokens_of_an_image_are_in_raster_order() -> None:
    network, variables = built("stem")
    x = inputs(CONFIGS["stem"])
    changed = x.copy()
    changed[5, 9] += 1.0  # patch (1, 2) of 2 by 3; the 3 by 3 filter stays inside it
    before, after = (np.asarray(stem_tokens(network, variables, i)) for i in (x, changed))
    assert before.shape == (6, 4)
    assert np.flatnonzero(np.any(before != after, axis=1)).tolist() == [5]


def test_batch_norm_sees_the_whole_batch_under_vmap() -> None:
    network, variables = built("stem")
    batch = inputs(CONFIGS["stem"], 3)
    keys = jax.random.split(jax.random.key(0), 3)

    def one(x, key):
        rngs = {"dropout": key}
        return network.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])

    y, state = jit(jax.vmap(one, axis_name="batch", out_axes=(0, None)))(batch, keys)
    assert y.shape == (3, 3)
    # The first convolution by hand, with zeros around the image.
    kernel = np.asarray(variables["params"]["encoder"]["conv_0"]["kernel"])
    padded = np.pad(batch, ((0, 0), (1, 1), (1, 1), (0, 0)))
    filtered = sum(
        padded[:, i : i + 8, j : j + 12] @ kernel[i, j] for i in range(3) for j in range(3)
    )
    same = jax.tree.map(
        lambda old, new: old.dtype == new.dtype, variables["batch_stats"], state["batch_stats"]
    )
    assert all(jax.tree.leaves(same))  # a loop can carry them
    stats = state["batch_stats"]["encoder"]["norm_0"]
    np.testing.assert_allclose(stats["mean"], 0.1 * filtered.mean((0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * filtered.var((0, 1, 2)), rtol=1e-10)
    # Control: one image alone has other statistics.
    assert np.max(np.abs(stats["mean"] - 0.1 * filtered[0].mean((0, 1)))) > 1e-4


def test_precision_follows_the_configuration() -> None:
    x = inputs(CONFIGS["f1"])
    for changes in (
        {"param_dtype": "float32"},
        {"param_dtype": "float32", "compute_dtype": "bfloat16"},
    ):
        network = SequenceNetwork(f1_config(**changes))
        variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), built("f1")[1])
        drawn = jax.eval_shape(network.init, jax.random.key(0), x)
        assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {np.dtype("float32")}
        y = jit(network.apply)(variables, x)
        assert y.dtype == jnp.float32
        expected = numpy_output(CONFIGS["f1"], built("f1")[1], x)
        # Half precision has 8 bits and is rounded some ten times.
        tolerance = 0.05 if "compute_dtype" in changes else 1e-5
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * 0.1)


def test_gradients_of_seeds_at_once_are_finite() -> None:
    network, _ = built("f1")
    x = inputs(CONFIGS["f1"], 5)

    def loss(params, x):
        return jnp.mean(jax.vmap(lambda one: network.apply(params, one))(x) ** 2)

    keys = jax.random.split(jax.random.key(0), 3)
    params = jit(jax.vmap(network.init, in_axes=(0, None)))(keys, x[0])
    gradient = jit(jax.vmap(jax.grad(loss), in_axes=(0, None)))(params, x)
    for leaf in jax.tree.leaves(gradient):
        assert leaf.shape[0] == 3
        assert np.all(np.isfinite(leaf))
