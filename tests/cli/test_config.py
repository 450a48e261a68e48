"""Configuration is strict: each mistake gets one line with key, value and remedy."""

from __future__ import annotations

import pytest

from ssmbias.config import DEFAULT_MAPPING, DEFAULT_STRENGTHS, SETTINGS, VerifyConfig, from_mapping


def mapping(**changes):
    return dict(DEFAULT_MAPPING, **changes)


def test_defaults_agree_with_the_dataclass():
    assert from_mapping(DEFAULT_MAPPING) == VerifyConfig()
    assert VerifyConfig().strengths == DEFAULT_STRENGTHS
    assert hash(VerifyConfig()) == hash(VerifyConfig())


def test_single_values_and_lists_mean_the_same():
    assert from_mapping(mapping(setting="t7")) == from_mapping(mapping(setting=["t7"]))
    assert from_mapping(mapping(strength=1)) == from_mapping(mapping(strength=[1.0]))


def test_overrides_apply_to_every_setting_and_show_in_its_name():
    config = from_mapping(mapping(seq_len=11, state_dim=5))
    assert [s.name for s in config.settings] == [
        "t7(seq_len=11, state_dim=5)",
        "t9(seq_len=11, state_dim=5)",
    ]
    assert {s.seq_len for s in config.settings} == {11}
    assert config.settings[0].gap == SETTINGS["t7"].gap


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
        ({"setting": ["t7", "t7"]}, r"a name of its own"),
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
