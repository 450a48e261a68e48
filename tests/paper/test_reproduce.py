"""Every configuration of a table or figure runs at a reduced size; units survive a kill."""

from __future__ import annotations

import csv
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import hydra
import numpy as np
import pytest
from omegaconf import OmegaConf

from ssmbias.cli.reproduce import rewritten
from ssmbias.paper import protocol
from ssmbias.paper.cells import jobs as cells
from ssmbias.paper.cells.jobs import CellJob, ReplayJob, run_job
from ssmbias.paper.cells.theorem1 import THEOREM1
from ssmbias.paper.reproduce import reproduce
from ssmbias.paper.reproduce_config import (
    DEFAULT_MAPPING,
    FIGURES,
    TABLES,
    ReproduceConfig,
    Target,
    from_mapping,
)
from ssmbias.paper.settings import EXPERIMENTS
from ssmbias.runs import sources
from ssmbias.runs.sources import Tree

PACKAGE = Path(cells.__file__).parents[2]
REPO = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    f"{path.parent.name}={path.stem}"
    for group in ("table", "figure")
    for path in (REPO / "conf" / group).glob("*.yaml")
)
# Most of the time goes into compilation, of shapes that these share with the others.
SLOW = {f"figure={number}" for number in FIGURES} | {f"table={number}" for number in TABLES}
REDUCED = (
    "num_seeds=2", "most_extra_steps=40", "converge=false", "most_replays=1", "num_workers=1",
)  # fmt: skip


def configuration(*overrides: str) -> ReproduceConfig:
    """What the script makes of its command line, where it quotes the names of files."""
    overrides = tuple(re.sub(r"^(table|figure)=(\d)$", r"\1='\2'", word) for word in overrides)
    with hydra.initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        plain = OmegaConf.to_container(hydra.compose("reproduce", list(overrides)))
    assert isinstance(plain, dict)
    return from_mapping({str(key): value for key, value in plain.items()})


@pytest.fixture(scope="module")
def units(tmp_path_factory) -> Path:
    """Finished units, shared by the targets that need the same ones."""
    return tmp_path_factory.mktemp("units")


def test_every_table_and_figure_has_a_configuration() -> None:
    expected = {f"table={n}" for n in TABLES} | {f"figure={n}" for n in FIGURES}
    assert set(CONFIGS) == expected
    known = set(EXPERIMENTS) | set(THEOREM1)
    used = {name for c in CONFIGS for t in configuration(c).targets for name in t.experiments}
    assert used == known  # nothing in the settings that no target shows


@pytest.mark.parametrize(
    "name", [pytest.param(c, marks=[pytest.mark.slow] if c in SLOW else []) for c in CONFIGS]
)
def test_configurations_run_at_a_reduced_size(name, units, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(protocol, "MAX_STEPS", {"sgd*": 3000, "adam": 3000})
    (tmp_path / "units").symlink_to(units, target_is_directory=True)
    config = configuration(name, *REDUCED)
    seen: list[tuple[int, int, str]] = []
    summary = reproduce(config, tmp_path, lambda *state: seen.append(state))
    label = name.replace("=", "")
    assert seen[-1][:2] == (len(config.jobs()), len(config.jobs()))
    assert set(summary["tables"]) == {label}
    assert summary["tables"][label]
    for suffix in ("md", "tex", "csv"):
        assert (tmp_path / f"{label}.{suffix}").stat().st_size > 100
    pictures = [file for file in summary["files"] if file.endswith(".png")]
    assert pictures
    for picture in pictures:
        assert (tmp_path / picture).stat().st_size > 10_000
        assert (tmp_path / picture).with_suffix(".pdf").exists()
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored["schema"] == "ssmbias.reproduce/1"
    assert str(REPO) not in json.dumps(stored)
    with (tmp_path / f"{label}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["experiment"] for row in rows} == set(config.targets[0].experiments)


class TestUnits:
    job = CellJob("theorem1_t7", 1, 2)

    def test_a_finished_unit_is_not_computed_again(self, tmp_path, monkeypatch) -> None:
        first = run_job(self.job, tmp_path)
        monkeypatch.setattr(cells, "_cell_arrays", lambda job: pytest.fail("computed again"))
        again = run_job(self.job, tmp_path)
        for name, value in first.items():
            np.testing.assert_array_equal(again[name], value)

    @pytest.mark.parametrize("damage", ["missing", "cut", "other"])
    def test_a_damaged_or_foreign_unit_is_computed_again(
        self, damage, tmp_path, monkeypatch
    ) -> None:
        run_job(self.job, tmp_path)
        base = tmp_path / self.job.label
        if damage == "missing":
            base.with_suffix(".json").unlink()  # killed between the two files
        elif damage == "cut":
            base.with_suffix(".npz").write_bytes(base.with_suffix(".npz").read_bytes()[:100])
        else:
            base.with_suffix(".json").write_text('{"fingerprint": "another configuration"}')
        monkeypatch.setattr(cells, "_cell_arrays", lambda job: {"fresh": np.ones(1)})
        assert set(run_job(self.job, tmp_path)) == {"fresh"}

    def test_a_folder_of_an_earlier_version_is_refused(self, tmp_path) -> None:
        units = tmp_path / "units"
        units.mkdir()
        (units / f"{self.job.label}.json").write_text('{"fingerprint": "...", "job": {}}')
        config = ReproduceConfig(targets=(Target("table", 1, ("theorem1_t7",)),), num_seeds=2)
        with pytest.raises(ValueError, match=r"holds results of another version .*new folder"):
            reproduce(config, tmp_path)
        assert [path.name for path in units.iterdir()] == [f"{self.job.label}.json"]

    @pytest.mark.parametrize(
        ("changed", "stale"),
        [
            ("dynamics/theorem1/step.py", {"theorem1"}),
            ("dynamics/descent/keras_adam.py", {"experiment", "replay"}),
            ("paper/replay_loss.py", {"replay"}),
            ("paper/settings.py", {"experiment"}),
            ("metrics.py", {"theorem1", "experiment", "replay"}),
            ("paper/reproduce.py", set()),
            ("sweeps/grid.py", set()),
            ("theory/clean.py", set()),
        ],
    )
    def test_a_changed_line_makes_exactly_its_units_stale(
        self, changed, stale, tmp_path, monkeypatch
    ) -> None:
        root = shutil.copytree(
            PACKAGE, tmp_path / "ssmbias", ignore=shutil.ignore_patterns("__pycache__")
        )
        jobs = {
            "theorem1": self.job,
            "experiment": CellJob(next(iter(EXPERIMENTS)), 0, 2),
            "replay": ReplayJob("x.npz", "0123456789"),
        }
        computed: set[str] = set()

        def arrays(job):
            computed.update(name for name, one in jobs.items() if one is job)
            return {"x": np.ones(1)}

        monkeypatch.setattr(cells, "_arrays", arrays)
        for text in ("", "\n_NEW_LINE = 1\n"):
            path = root / changed
            path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
            tree = Tree({"ssmbias": root})
            monkeypatch.setattr(sources, "package_tree", functools.partial(lambda t: t, tree))
            computed.clear()
            for job in jobs.values():
                run_job(job, tmp_path / "units")
        assert computed == stale

    def test_work_done_before_an_interruption_is_kept(self, tmp_path, monkeypatch) -> None:
        config = ReproduceConfig(
            targets=(Target("table", 1, ("theorem1_t7",)),), num_seeds=2, num_workers=1
        )
        real = cells._cell_arrays

        def interrupted(job):
            if job.arm == 1:
                raise KeyboardInterrupt
            return real(job)

        monkeypatch.setattr(cells, "_cell_arrays", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reproduce(config, tmp_path)
        assert not (tmp_path / "summary.json").exists()
        done = [
            job.label
            for job in config.jobs()
            if (tmp_path / "units" / f"{job.label}.json").exists()
        ]
        assert done == ["theorem1_t7-clean"]
        computed = []
        monkeypatch.setattr(
            cells, "_cell_arrays", lambda job: computed.append(job.arm) or real(job)
        )
        reproduce(config, tmp_path)
        assert computed == [1]


class TestTable:
    @pytest.mark.slow
    def test_numbers_are_those_of_theory(self, tmp_path) -> None:
        config = ReproduceConfig(targets=(Target("table", 1, ("theorem1_t7",)),), num_seeds=4)
        reproduce(config, tmp_path)
        rows = json.loads((tmp_path / "summary.json").read_text())["tables"]["table1"]
        errors = {r["arm"]: r for r in rows if r.get("quantity") == "test error"}
        # The first four starts that the setting allows; the paper's two of them are 242 and 243,
        # whose errors stand in tests/data/theorem1_reference.json.
        clean = run_job(CellJob("theorem1_t7", 0, 4), None)["test_error"]
        np.testing.assert_allclose(clean[:2], [0.001184236716, 0.001226091337], rtol=1e-8)
        assert errors["clean"]["own"][0] == pytest.approx(float(clean.mean()), rel=1e-12)
        assert errors["clean"]["reported"] == 0.001270
        assert errors["poisoned"]["own"][0] > 10 * errors["clean"]["own"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_seeds": 1}, "num_seeds=1"),
        ({"replay": "no_such_run"}, "replay=no_such_run: no file"),
        ({"targets": {}}, "nothing to do"),
        ({"replay": 5}, "replay=5"),
        ({"replay_dir": "/no/such/folder"}, "replay_dir='/no/such/folder'"),
        ({"colour": "red"}, "colour='red': unknown key"),
        ({"converge": "maybe"}, "converge='maybe'"),
        ({"targets": {"x": {"kind": "table", "number": 2, "experiments": []}}}, "table=2"),
        (
            {"targets": {"x": {"kind": "figure", "number": 2, "experiments": ["a"]}}},
            "experiment='a'",
        ),
    ],
)
def test_bad_input_is_named(change, message) -> None:
    target = {"kind": "table", "number": 1, "experiments": ["theorem1_t7"]}
    base = {**DEFAULT_MAPPING, "targets": {"table1": target}}
    with pytest.raises(ValueError, match=message):
        from_mapping({**base, **change})


MISTAKES = {
    (): "nothing to do: give table=1",
    ("table=2",): "table",
    ("tabel=1",): "tabel: unknown key; did you mean table? known are converge",
    ("replay=nothing",): "replay=nothing: no file",
    ("table=1", "num_seeds=1"): "num_seeds=1",
}


class TestCommandLine:
    def run(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(REPO / "scripts" / "reproduce.py"), *arguments],
            cwd=cwd, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=400,
        )  # fmt: skip

    @pytest.mark.slow
    def test_a_replay_prints_its_verdict(self, tmp_path) -> None:
        name = "poison_ssm_len6_d10_seed201_special"
        done = self.run(f"replay={name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"replay {name}: steps to eps 829" in done.stdout
        assert "holds" in done.stdout

    def test_mistakes_get_one_line_and_exit_code_2(self, assert_refused) -> None:
        assert_refused("reproduce", MISTAKES)

    def test_all_is_every_table_and_figure(self) -> None:
        typed = rewritten(["all", "num_seeds=4"])
        tables, figures = (re.findall(r"'(\d)'", word) for word in typed[:2])
        assert tuple(map(int, tables)) == TABLES
        assert tuple(map(int, figures)) == FIGURES
        assert typed[2:] == ["num_seeds=4"]
        assert ReplayJob("x.npz", "0123456789").label == "replay-x-01234567"
