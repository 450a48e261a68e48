"""One line changes in a deep module: of all programs, exactly the units that use it are stale.

Every program is asked for the marks of some of its units, with the package's own source and with a
copy in which a line was added.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ssmbias
from ssmbias.certify.box import default_box
from ssmbias.certify.task import Task
from ssmbias.evidence import Bench
from ssmbias.paper.cells.jobs import CellJob, ReplayJob
from ssmbias.poison.arms.registry import find_arm
from ssmbias.poison.catalogue import find_experiment
from ssmbias.poison.training.units import UnitStore
from ssmbias.runs import sources
from ssmbias.runs.sources import Tree
from ssmbias.runs.units import Units
from ssmbias.sweeps.runner import variables
from ssmbias.sweeps.settings import SweepSettings
from ssmbias.sweeps.solve import sources_of
from ssmbias.verification import run as checking
from ssmbias.verification.pairing import plan

EXPERIMENT = "poison_ssm_len6"


class _Seen(Exception):
    """Carries the mark that a program looks for."""


def check_mark(claim: str) -> str:
    """The mark of a check, as `make verify` asks its folder for it."""

    class Asked(Units):
        def find(self, name: str, mark: str):
            raise _Seen(mark)

    (pair,) = plan(claim, settings=["t7"], changes={}).pairs[:1]
    bench = Bench(None, 1e-10).on(pair[1])
    with pytest.raises(_Seen) as seen:
        checking._check_or_find(pair[0], bench, Asked("no-such-folder", "test/1"))
    return str(seen.value)


def store_mark(**settings) -> str:
    """The mark of a sweep's store."""
    # Zarr changes warning filters when it is imported.
    from ssmbias.sweeps.store.attributes import MARK, attributes

    chosen = SweepSettings(**settings)
    grid = ssmbias.sweeps.make_grid({"seed": range(2)})
    return attributes(grid, variables(chosen), chosen.provenance(), 2, sources_of(chosen))[MARK]


def arm_mark(arm: str) -> str:
    """The mark of an arm of the few-shot experiment F1."""
    found = find_arm(arm)
    assert found is not None
    return UnitStore(Path("no-such-folder"), find_experiment("f1")).mark(found)


MARKS: dict[str, Callable[[], str]] = {
    "M1-limit": lambda: check_mark("M1-limit"),
    "M3": lambda: check_mark("M3"),
    "I3": lambda: check_mark("I3"),
    "sweep": store_mark,
    "sweep abc": lambda: store_mark(trainable="abc"),
    "table": lambda: CellJob("theorem1_t7", 0, 2).mark,
    "experiment": lambda: CellJob(EXPERIMENT, 0, 2).mark,
    "replay": lambda: ReplayJob("x.npz", "0123").mark,
    "late": lambda: arm_mark("late"),
    "found": lambda: arm_mark("found"),
    "box": lambda: Task("k7d3", default_box(3), 7, 1.0).key(),
}
DEEP = {
    "theory/clean.py": {"M1-limit", "M3"},
    "theory/clean_path.py": set(),
    "theory/passage/map.py": {"M3"},
    "claims/m1_limit.py": {"M1-limit"},
    "subjects/passage.py": {"M3"},
    "dynamics/limit/dop853.py": {"M3", "sweep"},
    "dynamics/flow/coordinates.py": {"I3", "sweep abc", "experiment"},
    "dynamics/theorem1/rodas5p.py": {"M1-limit", "M3", "sweep", "table"},
    "dynamics/descent/keras_adam.py": {"experiment", "replay"},
    "certify/prover/rates.py": {"box"},
    # The table takes its settings from the subjects of claims.
    "statistics/fits.py": {"M1-limit", "M3", "I3", "table"},
    "statistics/paired.py": set(),
    "poison/training/at_once.py": {"late", "found"},
    "poison/search/matching.py": {"late", "found"},  # one engine trains and searches
    "poison/arms/found.py": {"found"},
    "poison/arms/placed.py": {"late"},
    "poison/verdict.py": set(),
    "report/table.py": set(),
    "cli/words.py": set(),
    "runs/multirun.py": set(),
    "core/types.py": {*MARKS} - {"box"},
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("copy") / "ssmbias"
    ignored = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(Path(ssmbias.__file__).parent, place, ignore=ignored)


@pytest.fixture(scope="module")
def before(copied) -> dict[str, str]:
    """Marks with the source as it is."""
    return {name: mark() for name, mark in MARKS.items()}


def test_units_of_all_programs_have_marks_of_their_own(before):
    assert len(set(before.values())) == len(MARKS)
    assert before == {name: mark() for name, mark in MARKS.items()}


@pytest.mark.parametrize("changed", DEEP)
def test_a_line_makes_exactly_the_units_stale_that_use_it(copied, before, changed, monkeypatch):
    path = copied / changed
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\n_NEW_LINE = 1\n", encoding="utf-8")
    tree = Tree({"ssmbias": copied})
    monkeypatch.setattr(sources, "package_tree", lambda: tree)
    try:
        after = {name: mark() for name, mark in MARKS.items()}
    finally:
        path.write_text(text, encoding="utf-8")
    assert {name for name in MARKS if after[name] != before[name]} == DEEP[changed]


OLD = {
    ("verify", "claims=M1-limit"): "checks/t7-M1-limit.json",
    ("reproduce", "table=1", "num_seeds=2"): "units/theorem1_t7-clean.json",
    ("certify", "boxes=k7d3"): "records/k7d3.json",
    ("poison", "experiment=f1"): "units/late-0123456789abcdef.npz",
}
"""Words, and a file that an earlier version left in the folder."""

# All in one process, whose imports take seconds.
RUN_ALL = """
import contextlib, importlib, io, json, os, sys
found = []
for program, *words in json.loads(sys.argv[1]):
    os.environ["HYDRA_FULL_ERROR"] = "0"
    main = importlib.import_module(f"ssmbias.cli.{program}").main
    sys.argv[1:], said = words, io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            found.append([end.code, said.getvalue()])
print(json.dumps(found))
"""


def test_a_folder_of_an_earlier_version_is_refused_by_every_program(tmp_path):
    typed, files = [], []
    for words, name in OLD.items():
        file = tmp_path / words[0] / name
        file.parent.mkdir(parents=True)
        file.write_text('{"fingerprint": "of an earlier version"}')
        files.append(file)
        typed.append([*words, f"hydra.run.dir={tmp_path / words[0]}"])
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(typed)],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    for file, (code, said) in zip(files, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert code == 2, said
        line = said.splitlines()[-1]
        assert line.startswith(f"error: folder='{file.parent}': holds results of another version")
        assert "use a new folder" in line
        assert "Traceback" not in said
        assert [path.name for path in file.parent.iterdir()] == [file.name]
