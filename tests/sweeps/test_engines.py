"""A store depends on the source of the engine that filled it, and not on that of the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ssmbias
from ssmbias.runs.sources import Tree
from ssmbias.sweeps.settings import settings_from
from ssmbias.sweeps.solve import sources_of


@pytest.mark.parametrize(
    ("settings", "changed", "stale"),
    [
        ({"solver": "limit"}, "dynamics/limit/dop853.py", True),
        ({"solver": "limit"}, "dynamics/theorem1/rodas5p.py", True),  # starts ask for near ties
        ({"solver": "limit"}, "dynamics/flow/coordinates.py", False),
        ({"solver": "limit"}, "sweeps/engines/theorem1.py", False),
        ({}, "sweeps/engines/theorem1.py", True),
        ({"solver": "theorem1"}, "dynamics/limit/dop853.py", False),
        ({"solver": "flow"}, "dynamics/flow/coordinates.py", True),
        ({"solver": "flow"}, "dynamics/limit/dop853.py", False),
        ({"solver": "flow"}, "models/starts.py", True),
        ({"solver": "flow"}, "sweeps/store/disk.py", False),
        ({"solver": "flow"}, "sweeps/settings.py", False),
    ],
)
def test_a_store_depends_on_the_source_of_its_engine(tmp_path, settings, changed, stale):
    root = tmp_path / "ssmbias"
    shutil.copytree(
        Path(ssmbias.__file__).parent, root, ignore=shutil.ignore_patterns("__pycache__")
    )
    names = sources_of(settings_from(settings))
    before = Tree({"ssmbias": root}).digest(*names)
    path = root / changed
    path.write_text(path.read_text(encoding="utf-8") + "\n_NEW_LINE = 1\n")
    assert (Tree({"ssmbias": root}).digest(*names) != before) == stale
