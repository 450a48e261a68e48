"""Which figures a run has, and their files; data that are missing or poor."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from ssmbias.report import (
    dynamics_figure,
    effective_rank_figure,
    error_parity_figure,
    gamma0_figure,
    load_results,
    save_figures,
    strong_poison_figure,
    write_report,
)
from ssmbias.report.pages.verification import plan_figures

SAMPLE = Path(__file__).parents[3] / "data" / "verify_sample"
SETTINGS = ("t7", "t9")
Arrays = dict[str, np.ndarray]


@pytest.fixture
def arrays() -> Arrays:
    return load_results(SAMPLE)[1]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "run"))


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with figures and report."""
    folder = Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("reported") / "run"))
    write_report(folder)
    return folder


def legend_texts(owner: Any) -> list[str]:
    return [text.get_text() for text in owner.get_legend().get_texts()]


DRAWINGS = (dynamics_figure, effective_rank_figure, gamma0_figure)


def test_a_figure_without_its_arrays_is_refused(arrays: Arrays) -> None:
    for draw in DRAWINGS:
        with pytest.raises(ValueError, match=r"subject='t8': .*; subjects are t7, t9"):
            draw(arrays, "t8")
    with pytest.raises(ValueError, match="no predicted and measured errors"):
        error_parity_figure({})
    with pytest.raises(ValueError, match="no differences"):
        strong_poison_figure({})
    assert plan_figures({}, {}) == []


def test_what_was_not_saved_is_left_out(arrays: Arrays) -> None:
    lacking = {
        k: v
        for k, v in arrays.items()
        if not k.startswith(("t7/trajectory/poisoned", "t9/trajectory", "t9/strong", "t9/error"))
        and k not in {"t7/trajectory/clean/limit", "t7/error/bound", "t7/strong/in_fit"}
    }
    names = [plan.name for plan in plan_figures({}, lacking)]
    assert names == [
        "dynamics_t7",
        "effective_rank_t7",
        "gamma0_t7",
        "error_parity",
        "strong_poison",
    ]
    (ax,) = dynamics_figure(lacking, "t7").axes
    assert len(ax.get_lines()) == 10
    assert legend_texts(ax) == ["simulation"]
    assert len(error_parity_figure(lacking).axes[0].texts) == 0
    assert len(strong_poison_figure(lacking).axes) == 1


@pytest.mark.parametrize("spoil", ["nan", "constant", "one start", "zero difference"])
def test_poor_data_are_drawn_without_a_warning(arrays: Arrays, spoil: str, tmp_path: Path) -> None:
    for key in list(arrays):
        if spoil == "nan" and "time" not in key and "strength" not in key:
            arrays[key] = np.full_like(arrays[key], np.nan, dtype=float)
        elif spoil == "constant" and "trajectory" in key and "time" not in key:
            arrays[key][:] = arrays[key][:1]
        elif spoil == "one start" and ("error" in key or "difference" in key) and arrays[key].ndim:
            arrays[key] = arrays[key][:1]
        elif spoil == "zero difference" and "difference" in key:
            arrays[key][:] = 0.0
    plans = plan_figures({}, arrays)
    assert len(plans) == (7 if spoil == "nan" else 8)  # errors that are all nan make no figure
    for plan in plans:
        plan.draw().savefig(tmp_path / f"{plan.name}.png", dpi=40)
        assert (tmp_path / f"{plan.name}.png").stat().st_size > 1000


def test_figures_are_saved_for_print(reported: Path) -> None:
    names = {
        *(f"{name}_{s}" for name in ("dynamics", "effective_rank", "gamma0") for s in SETTINGS),
        "error_parity",
        "strong_poison",
    }
    found = {path.name for path in (reported / "figures").iterdir()}
    assert found == {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")}
    for name in names:
        png = (reported / "figures" / f"{name}.png").read_bytes()
        width = int.from_bytes(png[16:20], "big")
        assert width == (680 if name.startswith(("effective", "gamma")) else 1400)  # inches x 200
        pdf = (reported / "figures" / f"{name}.pdf").read_bytes()
        # Fonts are inside, as TrueType; publishers refuse Type 3.
        assert b"/FontFile2" in pdf
        assert b"/Type3" not in pdf


def test_the_same_results_give_the_same_files(reported: Path, run_dir: Path) -> None:
    paths = save_figures(run_dir)
    assert len(paths) == 16
    for path in paths:
        assert path.read_bytes() == (reported / "figures" / path.name).read_bytes()
    assert write_report(run_dir).read_bytes() == (reported / "report.html").read_bytes()


def test_names_of_changed_settings_make_file_names(arrays: Arrays) -> None:
    odd = {k.replace("t7/", "t7(gap=1e-05, x=..)/"): v for k, v in arrays.items()}
    names = [plan.name for plan in plan_figures({}, odd)]
    assert names[0] == "dynamics_t7_gap=1e-05_x=.."
    assert all(re.fullmatch(r"[A-Za-z0-9_.=-]+", name) for name in names)


def test_settings_of_the_caller_are_left_alone(arrays: Arrays) -> None:
    with matplotlib.rc_context({"font.size": 31.0, "axes.spines.top": True}):
        before = dict(matplotlib.rcParams)
        figure = dynamics_figure(arrays, "t7")
        assert dict(matplotlib.rcParams) == before
    assert figure.axes[0].xaxis.label.get_fontsize() == 9.0


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys, ssmbias.report as r\n"
        f"a = r.load_results({str(SAMPLE)!r})[1]\n"
        "r.dynamics_figure(a, 't7')\n"
        "assert 'matplotlib' in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SAMPLE.parents[2])
