"""Configuration is strict: each mistake gets one line with key, value and remedy."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from ssmbias.report.cite import reproduce_command
from ssmbias.subjects import DEFAULT_STRENGTHS, SETTINGS, Theorem1
from ssmbias.verification import plan
from ssmbias.verification.job import DEFAULT_MAPPING, from_mapping


def mapping(**changes):
    return dict(DEFAULT_MAPPING, **changes)


def settings(job) -> list[Theorem1]:
    return [subject for subject in job.subjects if isinstance(subject, Theorem1)]


def test_defaults_agree_with_the_function():
    job = from_mapping(DEFAULT_MAPPING)
    assert job == plan()
    assert settings(job)[0].strengths == DEFAULT_STRENGTHS
    assert job.words == ()


def test_single_values_and_lists_mean_the_same():
    assert from_mapping(mapping(setting="t7")) == from_mapping(mapping(setting=["t7"]))
    assert from_mapping(mapping(strength=1)) == from_mapping(mapping(strength=[1.0]))


def test_overrides_apply_to_every_setting_and_show_in_its_name():
    job = from_mapping(mapping(seq_len=11, state_dim=5))
    assert [s.name for s in settings(job)] == [
        "t7(seq_len=11, state_dim=5)",
        "t9(seq_len=11, state_dim=5)",
    ]
    assert {s.seq_len for s in settings(job)} == {11}
    assert settings(job)[0].gap == SETTINGS["t7"].gap


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"setting": "t7", "num_seeds": 64}, ("setting=t7", "num_seeds=64")),
        ({"claims": ["M1", "B1"]}, ("claims=[M1,B1]",)),
        ({"strength": [0, 1], "rtol": 1e-9}, ("strength=[0.0,1.0]", "rtol=1e-09")),
        ({"seq_len": 9}, ("seq_len=9",)),
    ],
)
def test_words_ask_for_the_same_again(changes, words):
    assert from_mapping(mapping(**changes)).words == words


def test_costly_claims_can_be_left_out_unless_they_are_named():
    cheap = from_mapping(mapping(max_cost=5.0))
    assert {claim.id for claim in cheap.claims} < {claim.id for claim in plan().claims}
    assert all(claim.cost <= 5.0 for claim in cheap.claims)
    assert [c.id for c in from_mapping(mapping(max_cost=1.0, claims="I2")).claims] == ["I2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seq_len": 8}, r"seq_len=8: must be odd .* use 7 or 9"),
        ({"seq_len": 3}, r"seq_len=3: must be >= 5"),
        ({"seq_len": 7.5}, r"seq_len=7\.5: expected an integer"),
        ({"state_dim": 1}, r"state_dim=1: must be >= 2"),
        ({"strength": -1}, r"strength=-1\.0: .* >= 0"),
        ({"strength": "strong"}, r"strength='strong': expected a number"),
        ({"strength": float("nan")}, r"strength=nan: must be finite"),
        ({"strength": []}, r"strength=\[\]: give at least one"),
        ({"gap": 0.5}, r"gap=0\.5: .* smaller than init_scale"),
        ({"gap": -1e-9}, r"gap=-1e-09"),
        ({"init_scale": 0}, r"init_scale=0\.0: must lie in \(0, 1\)"),
        ({"num_seeds": 0}, r"num_seeds=0: must be >= 1"),
        ({"num_seeds": 10**8}, r"num_seeds=100000000: must be in 1\.\.4096"),
        ({"num_seeds": "many"}, r"num_seeds='many': expected an integer"),
        ({"num_seeds": True}, r"num_seeds=True: expected an integer"),
        ({"precision": "float32"}, r"precision='float32': .* float64 only"),
        ({"setting": "t8"}, r"setting='t8': choose from t7, t9"),
        ({"setting": ["t7", "t7"]}, r"names a setting twice"),
        ({"setting": []}, r"setting=\[\]"),
        ({"rtol": 1.0}, r"rtol=1\.0: must lie in"),
        ({"claims": [3]}, r"claims=3: expected ids"),
        ({"colour": "red"}, r"colour='red': unknown key; known are claims, .*"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        from_mapping(mapping(**changes))


def test_missing_key_is_named_with_its_default():
    incomplete = mapping()
    del incomplete["num_seeds"]
    with pytest.raises(ValueError, match="num_seeds: missing; the default is num_seeds=16"):
        from_mapping(incomplete)


def parsed(command: str) -> dict[str, Any]:
    """What Hydra makes of a command, through make and a shell."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    words = shlex.split(command)
    assert words[:2] == ["make", "verify"]
    (args,) = words[2:] or ["ARGS="]
    overrides = OverridesParser.create().parse_overrides(shlex.split(args.removeprefix("ARGS=")))
    return {override.key_or_group: override.value() for override in overrides}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_seeds": 64},
        {"setting": "t9", "strength": [0.0, 1e-7, 12.5], "claims": ["M1-limit", "B1"]},
        {"setting": ["t7", "t9"], "gap": 1e-9, "horizon": 30, "rtol": 1e-11},
        {"setting": "t7", "seq_len": 9, "state_dim": 12, "init_scale": 2e-3, "first_seed": 5},
        {"setting": ["t7", "t9"], "seq_len": 7},
    ],
)
def test_the_command_reproduces_the_job(changes: dict[str, Any]) -> None:
    wanted = from_mapping(mapping(**changes))
    command = reproduce_command(wanted.words)
    assert from_mapping(mapping(**parsed(command))) == wanted
    assert (command == "make verify") == (not changes)


def test_a_setting_of_ones_own_has_no_command() -> None:
    own = Theorem1("mine", 7, 4, init_scale=0.1, gap=0.001)
    job = plan("M4", settings=own)
    assert job.words is None
    assert reproduce_command(job.words).startswith("# claims or subjects were made in Python")
