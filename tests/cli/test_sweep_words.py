"""What may be typed for a sweep, and the settings that come of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import ssmbias
from ssmbias.cli import sweep, words
from ssmbias.sweeps.settings import DEFAULT_MAPPING, SweepJob, SweepSettings, from_mapping

REPO = Path(__file__).resolve().parents[2]
# Files that set the key `experiment` are for scripts/poison.py.
EXPERIMENTS = sorted(
    path.stem
    for path in (REPO / "conf" / "experiment").glob("*.yaml")
    if "\nexperiment:" not in path.read_text()
)


def composed(*overrides: str) -> dict:
    """The plain values that Hydra makes of words on the command line."""
    quoted = [words.with_quotes(word, sweep.PROGRAM.texts) for word in overrides]
    with initialize_config_module("ssmbias.conf", version_base="1.3"):
        plain = OmegaConf.to_container(compose("sweep", quoted))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


class TestWords:
    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("strength=logspace(-9,3,60)", "strength='logspace(-9,3,60)'"),
            ("strength=0 + logspace(-9, 3, 60)", "strength='0 + logspace(-9, 3, 60)'"),
            ("strength=0,logspace(-9,3,60)", "strength=0,'logspace(-9,3,60)'"),
            ("strength=[0,logspace(-9,3,60)]", "strength=[0,'logspace(-9,3,60)']"),
            ("+seed=range(3),range(4)", "+seed='range(3)','range(4)'"),
            ("save_times=(0+logspace(0,9,4))", "save_times='(0+logspace(0,9,4))'"),
            ("strength='logspace(-9,3,60)'", "strength='logspace(-9,3,60)'"),
            ('strength="logspace(-9,3,60)",1', 'strength="logspace(-9,3,60)",1'),
            ("seed=5", "seed=5"),
            ("seq_len=range(5,9,2)", "seq_len=range(5,9,2)"),  # Hydra's own range, over jobs
            ("strength=logspace(1,2", "strength=logspace(1,2"),  # for Hydra to complain about
            ("-m", "-m"),
        ],
    )
    def test_texts_are_quoted_for_hydra(self, word, expected) -> None:
        assert words.with_quotes(word, sweep.PROGRAM.texts) == expected
        assert words.with_quotes(expected, sweep.PROGRAM.texts) == expected

    @pytest.mark.parametrize(
        ("typed", "message"),
        [
            (["seeds=range(4)"], r"seeds: unknown key; did you mean seed\? known are seed, "),
            (["rho=1"], r"rho: unknown key; did you mean strength\?"),
            (["strength=[0,1"], r"strength=\[0,1: brackets do not match$"),
            (["strength=logspace(1,2))"], "brackets do not match"),
            (["strength=[(0])"], "brackets do not match"),
            (["seed=range(4)", "seed=range(5)"], "seed: is given twice"),
            (["store=a", "+store=b"], "store: is given twice, store=a and"),
        ],
    )
    def test_mistakes_that_hydra_would_explain_badly(self, typed, message) -> None:
        with pytest.raises(ValueError, match=message):
            words.prepared(typed, sweep.PROGRAM.known, sweep.PROGRAM.texts)

    def test_what_is_for_hydra_is_left_to_it(self) -> None:
        typed = [
            "-m", "hydra.run.dir='a (b'", "hydra/launcher=joblib", "+seeds=1", "~seed", "--cfg",
            r"store=a\(b", "store@x=it's (", "strength=${oc.env:X,1}",
        ]  # fmt: skip
        assert words.prepared(typed, sweep.PROGRAM.known, sweep.PROGRAM.texts) == typed

    def test_words_become_a_job(self) -> None:
        job = from_mapping(
            composed("strength=[0,logspace(-3,3,7)]", "seed=range(2)", "save_times=logspace(0,2,3)")
        )
        assert dict(job.grid.axes)["strength"] == (0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)
        assert dict(job.grid.axes)["seed"] == (0, 1)
        assert job.settings.save_times == (1.0, 10.0, 100.0)

    def test_hydra_defaults_are_the_library_defaults(self) -> None:
        assert composed() == dict(DEFAULT_MAPPING)
        job = from_mapping(composed("seed=1"))
        assert job.settings == SweepSettings()

    @pytest.mark.parametrize("name", EXPERIMENTS)
    def test_every_experiment_makes_a_valid_job(self, name) -> None:
        assert isinstance(from_mapping(composed(f"experiment={name}")), SweepJob)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kappa": 7}, "kappa=7: unknown key; did you mean seq_len"),
        ({"strenght": 1}, "strenght=1: unknown key; did you mean strength"),
        ({"strength": []}, r"grid\['strength'\]=\[\]: has no values"),
        ({"seed": None}, "nothing to do: give at least one of seed, strength"),
        ({"seed": "range(100000)", "strength": "logspace(-9,3,50000)"}, "5000000000 points take"),
        ({"seq_len": 8}, "seq_len=8: must be odd"),
        ({"solver": "euler"}, "solver='euler': choose one of"),
        ({"solver": "limit", "save_times": [1]}, "it knows no times on the way"),
        ({"solver": "limit", "trainable": "ab"}, "it trains a alone"),
        ({"trainable": "ad"}, "trainable='ad': join some of a, b and c"),
        ({"save_times": [1, 1]}, "times are 0 or greater, and ascend; sort them"),
        ({"rtol": 1}, "rtol=1.0"),
        ({"block_size": 0}, "block_size=0"),
        ({"devices": "all"}, "devices='all'"),
        ({"store": 3}, "store=3: expected the path"),
        ({"report": "pie"}, "report='pie': choose one of phase_diagram"),
    ],
)
def test_bad_input_is_named(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping({**DEFAULT_MAPPING, "seed": 1, **change})


def test_missing_key_is_named() -> None:
    with pytest.raises(ValueError, match="rtol: missing; the default is rtol="):
        from_mapping({key: value for key, value in DEFAULT_MAPPING.items() if key != "rtol"})


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"unknown": 1}, "unknown=1: unknown setting; known are solver, trainable"),
            ({"solvr": "flow"}, r"solvr='flow': unknown setting; did you mean solver\?"),
            ({"strength": [1]}, r"strength=\[1\]: is an axis; give it in the grid"),
        ],
    )
    def test_unknown_settings_are_named(self, settings, message) -> None:
        with pytest.raises(ValueError, match=message):
            ssmbias.sweep({"seed": 1}, **settings)

    def test_engines_are_chosen_by_what_is_asked(self) -> None:
        assert SweepSettings().uses_limit
        assert SweepSettings(save_times=[1, 2]).uses_theorem1  # pyright: ignore
        joint = SweepSettings(trainable="ba")
        assert joint.leaves == ("a", "b")
        assert not joint.uses_limit
        assert not joint.uses_theorem1

    def test_only_what_determines_the_numbers_is_provenance(self) -> None:
        first = SweepSettings(block_size=16, devices=1).provenance()
        assert first == SweepSettings().provenance()
        assert first != SweepSettings(rtol=1e-9).provenance()
