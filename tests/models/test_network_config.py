"""Choices of a sequence network and of its optimiser."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.network_cases import CONFIGS, built

from ssmbias.models.networks.config import cifar_config, f1_config
from ssmbias.models.networks.groups import (
    OptimizerConfig,
    cifar_optimizer,
    optimizer,
    parameter_groups,
)
from ssmbias.models.networks.sequence import SequenceNetwork, layer_params


def test_groups_of_networks() -> None:
    for name in CONFIGS:
        variables = built(name)[1]
        labels = parameter_groups(variables["params"])
        assert labels == parameter_groups(variables)["params"]
        flat = jax.tree_util.tree_leaves_with_path(labels)
        special = {jax.tree_util.keystr(path) for path, label in flat if label == "ssm"}
        expected = {
            f"['block_{i}']['ssm']['{leaf}']"
            for i in range(2)
            for leaf in ("log_dt", "log_a_re", "a_im")
        }
        assert special == (expected if name == "s4d" else set())
    # Those of a layer alone are the same.
    layer = layer_params(CONFIGS["s4d"], built("s4d")[1]["params"], 1)
    inside = parameter_groups(built("s4d")[1]["params"])["block_1"]["ssm"]
    assert {k: v for k, v in parameter_groups(layer)._asdict().items() if v} == inside


def test_optimizer_is_adamw_with_two_groups() -> None:
    config = OptimizerConfig(0.01, weight_decay=0.1)
    adamw = optimizer(config, lambda step: 1 / (1 + step))
    params = {"block_0": {"ssm": {"log_dt": jnp.array([2.0]), "d": jnp.array([2.0])}}}
    state, found = adamw.init(params), params
    mean, square, expected = 0.0, 0.0, np.array([2.0, 2.0])
    for step, slope in enumerate((0.3, -0.5, 0.2)):
        gradient = jax.tree.map(lambda leaf, slope=slope: jnp.full_like(leaf, slope), params)
        updates, state = adamw.update(gradient, state, found)
        found = jax.tree.map(jnp.add, found, updates)
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        ratio = (
            mean / (1 - 0.9 ** (step + 1)) / (np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8)
        )
        rates, decays = np.array([0.001, 0.01]) / (1 + step), np.array([0.0, 0.1])
        expected = expected - rates * (ratio + decays * expected)
    ssm = found["block_0"]["ssm"]
    # Optax corrects for the start in single precision: 1e-7 of updates of 0.01.
    np.testing.assert_allclose([ssm["log_dt"][0], ssm["d"][0]], expected, atol=2e-9)
    assert abs(expected[0] - expected[1]) > 1e-3
    # Without rates of their own the dynamics train with the rest.
    plain = optimizer(OptimizerConfig(0.01, ssm_learning_rate=None))
    updates, _ = plain.update(params, plain.init(params), params)
    assert updates["block_0"]["ssm"]["log_dt"] == updates["block_0"]["ssm"]["d"]
    assert cifar_optimizer("s4d") == OptimizerConfig(0.01, 0.01)


def test_configurations_are_hashable_and_options_ordered() -> None:
    one = f1_config(layer_options={"r_max": 0.9, "b_scale": 1.0})
    other = f1_config(layer_options=(("b_scale", 1.0), ("r_max", 0.9)))
    assert one == other
    assert hash(one) == hash(other)
    assert f1_config() == f1_config()
    assert hash(SequenceNetwork(one)) == hash(SequenceNetwork(other))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": "gru"}, "layer='gru'"),
        ({"channels": 0}, "channels=0"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"block": "pre_norm"}, "block='pre_norm'"),
        ({"encoder": "patch"}, "encoder='patch'"),
        ({"encoder_sd": -1.0}, "encoder_sd=-1.0"),
        ({"encoder": "conv_stem"}, "encoder_sd=0.3: is for encoder='linear'"),
        ({"activation": "relu"}, "activation='relu'"),
        ({"pooling": "max"}, "pooling='max'"),
        ({"glu": 1}, "glu=1: expected True or False"),
        ({"dropout": 1.0, "block": "post_norm"}, "dropout=1.0: a rate"),
        ({"dropout": 0.1}, "a block 'plain' has none"),
        ({"head_width": 0}, "head_width=0"),
        ({"head_activation": "tanh"}, "head_activation='tanh'"),
        ({"param_dtype": "int32"}, "param_dtype='int32'"),
        ({"compute_dtype": "int8"}, "compute_dtype='int8'"),
        ({"layer_options": {"r_max": 2.0}}, "r_max=2.0"),
        ({"layer_options": {"dt_max": 2.0}}, "dt_max=2.0: lru has no such option"),
        ({"layer_options": {"dtype": "float32"}}, "set param_dtype"),
        ({"layer_options": 3}, "layer_options=3"),
        ({"layer": "mamba2", "layer_options": (("head_dim", 64),)}, "head_dim=64: must divide"),
    ],
)
def test_bad_configurations_are_named(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        f1_config(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SequenceNetwork("f1"), "config='f1'"),
        (lambda: built("f1")[0].apply(built("f1")[1], np.ones((4, 2))), r"expected \(length, 1\)"),
        (lambda: built("f1")[0].apply(built("f1")[1], np.ones((2, 4, 1))), "with jax.vmap"),
        (lambda: built("f1")[0].apply(built("f1")[1], np.ones((4, 1), int)), "dtype int64"),
        (lambda: built("f1")[0].apply(built("f1")[1], np.ones((0, 1))), r"\(0, 1\)"),
        (lambda: built("stem")[0].apply(built("stem")[1], np.ones((8, 9, 3))), "multiples of 4"),
        (lambda: layer_params(CONFIGS["f1"], built("f1")[1]["params"], 1), "index=1"),
        (lambda: cifar_config("gru"), "layer='gru'"),
        (lambda: cifar_optimizer("gru"), "layer='gru'"),
        (lambda: OptimizerConfig(0.0), "learning_rate=0.0"),
        (lambda: OptimizerConfig(0.1, weight_decay=-1.0), "weight_decay=-1.0"),
        (lambda: OptimizerConfig(0.1, ssm_learning_rate=0.0), "ssm_learning_rate=0.0"),
        (lambda: OptimizerConfig(0.1, beta1=1.0), "beta1=1.0"),
        (lambda: optimizer(0.1), "config=0.1"),  # type: ignore[arg-type]
        (lambda: optimizer(OptimizerConfig(0.1), 0.5), "schedule=0.5"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
