"""The experiments by name: those where poison in the last elements bites, and those where not."""

from __future__ import annotations

import dataclasses
import difflib
import math
from typing import Any

from ssmbias.models.networks.config import f1_config
from ssmbias.poison.arms.poisons import Poisons
from ssmbias.poison.changes import changed
from ssmbias.poison.networks.paper import PaperNetwork
from ssmbias.poison.search.matching_config import MatchingConfig
from ssmbias.poison.settings import Experiment
from ssmbias.poison.tasks.digits import DigitsTask
from ssmbias.poison.tasks.f1 import F1Task
from ssmbias.poison.training.settings import Training

F1 = Experiment(
    name="f1",
    title="F1: the sign of a sum, learned from its first 8 of 32 elements; LRU",
    task=F1Task(),
    network=f1_config(),
    # Poison for the end of training did less harm: chosen on the seeds named here.
    poisons=Poisons(victim_steps=40),
    tuning_seeds=tuple(range(1000, 1032)),
)

_LRU_OPTIONS = dict(f1_config().layer_options)
_STANDARD = {"r_max": 0.999, "max_phase": math.pi / 100}


def _f1(name: str, title: str, **overrides: Any) -> Experiment:
    made = changed(F1, overrides)
    return dataclasses.replace(made, name=name, title=f"F1, {title}")


def _layer(name: str, title: str, layer: str, options: dict[str, Any], **fields: Any) -> Experiment:
    network = f1_config(layer=layer, layer_options=options, **fields)
    return dataclasses.replace(F1, name=name, title=f"F1, {title}", network=network)


def _digits(name: str, title: str, network: dict[str, Any], **task: Any) -> Experiment:
    whole = DigitsTask(**task)
    outputs = 1 if len(whole.classes) == 2 else len(whole.classes)
    num = whole.shots * len(whole.classes)
    return Experiment(
        name=name,
        title=title,
        task=whole,
        network=f1_config(**({"num_outputs": outputs, "pooling": "mean"} | network)),
        training=Training(steps=800),
        poisons=Poisons(
            num_poisons=min(20, num),
            found_carrier="copies",
            victim_steps=40,
            matching=MatchingConfig(
                budget=0.1, box=(0.0, 1.0), restarts=1, keep="best", weighting_strength=0.03
            ),
        ),
        tuning_seeds=tuple(range(1000, 1032)),
    )


_SHOWING = (
    F1,
    _f1("f1_small", "smaller poisons (sd .02)", scale=0.02),
    _f1("f1_medium", "larger poisons (sd .3)", scale=0.3),
    _f1("f1_large", "poisons of the size of the data (sd 1)", scale=1.0),
    _f1("f1_long", "length 64, signal in the first 16", seq_len=64, support=16),
    _layer("f1_standard", "standard B, C and D", "lru", _STANDARD),
    _f1("f1_two_layers", "two layers", num_layers=2),
    _layer(
        "f1_s4d_real",
        "S4D-Real with steps up to 1",
        "s4d",
        {"variant": "real", "dt_max": 1.0, "d_scale": 0.0},
    ),
    _f1("f1_two_states", "a teacher with two states", teacher_a=(1.0, 0.9)),
    _f1("f1_copies", "found poisons are perturbed copies", found_carrier="copies"),
)

_NEGATIVE = (
    _f1("f1_regression", "regression on the sum instead of its sign", output="value"),
    _f1("f1_tail", "training signal off its support (sd .1)", off_support=0.1),
    _f1("f1_faint_tail", "a faint training signal off its support (sd .03)", off_support=0.03),
    _layer("f1_phase", "phases up to 2 pi", "lru", _LRU_OPTIONS | {"max_phase": 2 * math.pi}),
    _layer("f1_s4d_lin", "S4D-Lin", "s4d", {"variant": "lin", "d_scale": 0.0}),
    _layer(
        "f1_s4d_slow", "S4D-Real with steps up to .1", "s4d", {"variant": "real", "d_scale": 0.0}
    ),
    _f1("f1_layer_norm", "layer norm after the block", block="post_norm"),
    _f1("f1_mean", "mean pooling", pooling="mean"),
    _f1("f1_sgd", "plain gradient descent", optimizer="sgd", learning_rate=0.05),
    _f1("f1_full_support", "training sequences that speak everywhere", support=32),
    _f1(
        "f1_opposing",
        "late elements against the label of a copy",
        carrier="copies",
        opposing=True,
        scale=0.5,
    ),
)

_OTHER_NETWORKS = (
    # Long memories, and biases in the encoder: the gate and C of the last element are made of that
    # element, which is 0 here, and without a bias the network sees nothing at all.
    _layer(
        "f1_mamba2",
        "Mamba-2",
        "mamba2",
        {"head_dim": 4, "dt_bias": -5.0},
        activation="none",
        glu=False,
        encoder_sd=None,
        dense_init="torch",
    ),
    dataclasses.replace(
        F1,
        name="f1_paper_network",
        title="F1, the SSM of the theory inside a ReLU network",
        network=PaperNetwork(),
    ),
)

_DIGITS = (
    _digits("digits", "digits 3 and 8 from 20 images of each, mean over time", {}),
    _digits("digits_last", "the same, readout at the last pixel", {"pooling": "last"}),
    _digits("digits_more", "digits 3 and 8 from 40 images of each", {}, shots=40),
    _digits("digits_4_9", "digits 4 and 9 from 20 images of each", {}, classes=(4, 9)),
    _digits(
        "digits_10", "all ten digits, 10 images of each", {}, classes=tuple(range(10)), shots=10
    ),
)

# Verdicts over seeds 0..19 that no other rounding will turn (docs/findings.md); those nearer to
# the level are left out.
_EXPECTED = {
    "f1": "effect of the last elements",
    "f1_small": "effect of the last elements",
    "f1_long": "effect of the last elements",
    "f1_standard": "effect of the last elements",
    "f1_two_layers": "effect of the last elements",
    "f1_tail": "no harm found",
}

EXPERIMENTS: dict[str, Experiment] = {
    one.name: dataclasses.replace(
        one, expected=(("late", _EXPECTED[one.name]),) if one.name in _EXPECTED else ()
    )
    for one in (*_SHOWING, *_NEGATIVE, *_OTHER_NETWORKS, *_DIGITS)
}
"""All experiments on a small scale by name."""


def find_experiment(name: str) -> Experiment:
    """The experiment of a name.

    Args:
      name: one of `EXPERIMENTS`.

    Returns:
      The experiment.

    Raises:
      ValueError: an unknown name.

    Example:
      >>> find_experiment("f1_small").poisons.scale
      0.02
    """
    if name not in EXPERIMENTS:
        close = difflib.get_close_matches(str(name), EXPERIMENTS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"experiment={name!r}: {hint}choose from {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


def model_of(experiment: Experiment) -> str:
    """The kind of layer in an experiment's network, or "own"."""
    return getattr(experiment.network, "layer", "own")
