"""Figures contain what they are to show; looked at as objects, not as files that exist."""

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
from matplotlib.colors import same_color, to_hex

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
from ssmbias.report.style import BLUE, ORANGE, PALE, RED, SKY

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


@pytest.mark.parametrize("setting", SETTINGS)
def test_dynamics_show_simulation_over_prediction(arrays: Arrays, setting: str) -> None:
    figure = dynamics_figure(arrays, setting)
    clean, poisoned = figure.axes
    dim = arrays[f"{setting}/trajectory/clean/a"].shape[1]
    assert clean.get_shared_y_axes().joined(clean, poisoned)
    assert clean.get_ylabel() == r"$\mid\!a_j\!\mid$"
    for ax, arm, colours in ((clean, "clean", (BLUE, SKY)), (poisoned, "poisoned", (RED, ORANGE))):
        assert arm in ax.get_title()
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
        assert "time" in ax.get_xlabel()
        # One simulated and one predicted line for each entry, and a diamond for the leading two.
        lines = ax.get_lines()
        simulated, predicted, marks = lines[:dim], lines[dim:], []
        marks = [line for line in predicted if line.get_marker() == "d"]
        predicted = [line for line in predicted if line.get_marker() == "None"]
        assert (len(simulated), len(predicted), len(marks)) == (dim, dim, 2)
        time = arrays[f"{setting}/trajectory/{arm}/time"]
        a = np.abs(arrays[f"{setting}/trajectory/{arm}/a"])
        for j, line in enumerate(simulated):
            x, y = (np.asarray(data) for data in line.get_data())
            inside = np.isin(time, x)
            np.testing.assert_array_equal(y[: inside.sum()], a[inside, j])
            assert same_color(line.get_color(), (*colours, PALE)[min(j, 2)])
            assert line.get_linestyle() == "-"
        limit = np.abs(arrays[f"{setting}/trajectory/{arm}/limit"])
        heights = sorted(float(line.get_ydata()[0]) for line in predicted)
        np.testing.assert_array_equal(heights, np.sort(limit))
        # Predictions stand at the right margin, after everything that was simulated.
        start = min(float(line.get_xdata()[0]) for line in predicted)
        assert start >= max(float(line.get_xdata()[-1]) for line in simulated)
        assert {float(line.get_xdata()[0]) for line in marks} == {ax.get_xlim()[1]}
        assert [text.get_text() for text in ax.texts][:2] == [
            r"$\mid\!a_1\!\mid$",
            r"$\mid\!a_2\!\mid$",
        ]
    assert legend_texts(clean) == ["simulation", "prediction (M1)"]
    assert legend_texts(poisoned) == ["simulation", r"prediction, $\rho\to\infty$ (M2)"]


def test_a_run_that_still_moves_is_not_drawn_on(arrays: Arrays) -> None:
    # The sample's runs end at rest; with a force left at the end, the line ends with the data.
    for force, at_rest in ((0.0, True), (1e-3, False)):
        arrays["t7/trajectory/poisoned/gamma"][-1] = force
        line = dynamics_figure(arrays, "t7").axes[1].get_lines()[0]
        last = float(line.get_xdata()[-1])
        assert (last > float(arrays["t7/trajectory/poisoned/time"][-1])) is at_rest


def test_labels_of_lines_do_not_overlap(arrays: Arrays) -> None:
    figure = dynamics_figure(arrays, "t7")
    figure.draw_without_rendering()
    for ax in figure.axes:
        boxes = [text.get_window_extent() for text in ax.texts]
        assert len(boxes) == 3
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_effective_rank_is_drawn_against_time(arrays: Arrays) -> None:
    (ax,) = effective_rank_figure(arrays, "t7").axes
    assert ax.get_xscale() == "log"
    assert ax.get_ylabel() == "effective rank of $a$"
    assert legend_texts(ax) == ["clean", r"poisoned, $\rho=1$"]
    drawn = {line.get_label(): line for line in ax.get_lines()}
    for label, arm in (("clean", "clean"), (r"poisoned, $\rho=1$", "poisoned")):
        time = arrays[f"t7/trajectory/{arm}/time"]
        rank = arrays[f"t7/trajectory/{arm}/effective_rank"]
        np.testing.assert_array_equal(drawn[label].get_ydata(), rank[time > 0])
    low, high = ax.get_ylim()
    assert low <= 1.0
    assert high > 10.0  # d


def test_gamma0_shows_its_sign_and_that_clean_is_exactly_zero(arrays: Arrays) -> None:
    (ax,) = gamma0_figure(arrays, "t7").axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "symlog")
    assert ax.get_ylabel() == r"$\gamma_0$"
    assert legend_texts(ax) == ["clean, exactly 0", r"poisoned, $\rho=1$"]
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.get_lines()}
    assert not drawn["clean, exactly 0"].any()
    gamma = drawn[r"poisoned, $\rho=1$"]
    np.testing.assert_array_equal(
        gamma, arrays["t7/trajectory/poisoned/gamma"][arrays["t7/trajectory/poisoned/time"] > 0, 0]
    )
    low, high = ax.get_ylim()
    assert gamma.min() < 0  # the case that a logarithm of |γ_0| would hide
    assert low < gamma.min() < gamma.max() < high
    # Negative control: a clean run whose γ_0 is merely small is not said to be zero.
    arrays["t7/trajectory/clean/gamma"][5, 0] = 1e-14
    (ax,) = gamma0_figure(arrays, "t7").axes
    assert legend_texts(ax)[0] == "clean"


def test_error_parity_shows_every_start(arrays: Arrays) -> None:
    figure = error_parity_figure(arrays)
    parity, relative = figure.axes
    for ax in (parity, relative):
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    points = [line for line in parity.get_lines() if line.get_linestyle() == "None"]
    gaps = [line for line in relative.get_lines() if line.get_linestyle() == "None"]
    assert len(points) == len(gaps) == 3 * len(SETTINGS)
    expected = [
        (arrays[f"{s}/error/{p}/predicted"], arrays[f"{s}/error/{m}/measured"])
        for s in SETTINGS
        for p, m in (("clean", "clean"), ("poisoned", "poisoned"), ("poisoned", "poisoned_rho1"))
    ]
    for line, gap, (predicted, measured) in zip(points, gaps, expected, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), predicted)
        np.testing.assert_array_equal(line.get_ydata(), measured)
        wanted = np.maximum(np.abs(measured / predicted - 1), 2.0**-53)
        np.testing.assert_allclose(gap.get_ydata(), wanted, rtol=1e-12)
    lines = [line for line in parity.get_lines() if line.get_linestyle() != "None"]
    diagonal = next(line for line in lines if line.get_linestyle() == "-")
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    bounds = sorted(float(line.get_ydata()[0]) for line in lines if line is not diagonal)
    assert bounds == sorted(float(arrays[f"{s}/error/bound"]) for s in SETTINGS)
    assert [text.get_text() for text in parity.texts] == ["B1, t7", "B1, t9"]
    assert legend_texts(parity) == ["measured = predicted", *SETTINGS]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "clean, against M1",
        r"poisoned, $\rho=10^{3}$, against M2",
        r"poisoned, $\rho=1$, against M2",
    ]
    # Each setting has its marker, each prediction its colour.
    assert len({line.get_marker() for line in points}) == len(SETTINGS)
    assert len({to_hex(line.get_color()) for line in points}) == 3


def test_errors_that_have_no_logarithm_are_left_out(arrays: Arrays) -> None:
    arrays["t7/error/clean/measured"][0] = np.nan
    arrays["t9/error/clean/measured"][:] = 0.0
    parity, _ = error_parity_figure(arrays).axes
    sizes = [len(x.get_xdata()) for x in parity.get_lines() if x.get_linestyle() == "None"]
    starts = len(arrays["t7/error/clean/predicted"])
    assert sizes == [starts - 1, starts, starts, starts, starts]


def test_strong_poison_shows_the_fit_it_was_given(arrays: Arrays) -> None:
    figure = strong_poison_figure(arrays)
    assert [ax.get_title() for ax in figure.axes] == list(SETTINGS)
    for ax, setting in zip(figure.axes, SETTINGS, strict=True):
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert "strength" in ax.get_xlabel()
        strength = arrays[f"{setting}/strong/strength"]
        difference = arrays[f"{setting}/strong/difference"]
        in_fit = arrays[f"{setting}/strong/in_fit"].astype(bool)
        assert 0 < in_fit.sum() < len(in_fit)
        named = {x.get_label(): x for x in ax.get_lines() if not x.get_label().startswith("_")}
        thin = [x for x in ax.get_lines() if x.get_label().startswith("_")]
        assert len(thin) == len(difference)
        np.testing.assert_array_equal(thin[1].get_ydata(), difference[1])
        chosen = next(x for label, x in named.items() if label.startswith("simulation"))
        np.testing.assert_array_equal(chosen.get_ydata(), difference[:, in_fit].ravel())
        np.testing.assert_array_equal(
            named["not in the fit"].get_ydata(), difference[:, ~in_fit].ravel()
        )
        assert same_color(named["not in the fit"].get_color(), PALE)
        assert not same_color(chosen.get_color(), PALE)
        fit = next(x for label, x in named.items() if label.startswith("fit"))
        guide = named[r"slope $-1$ (guide)"]
        slopes = [
            np.diff(np.log(x.get_ydata()))[0] / np.diff(np.log(x.get_xdata()))[0]
            for x in (fit, guide)
        ]
        # Two logarithms and powers over two decades: about 10 roundings of numbers below 20.
        assert slopes[0] == pytest.approx(float(arrays[f"{setting}/strong/exponent"]), abs=1e-14)
        assert slopes[1] == pytest.approx(-1.0, abs=1e-14)
        # It passes through the geometric mean of the starts at the largest strength.
        mean = np.exp(np.mean(np.log(difference[:, -1])))
        assert float(fit.get_ydata()[1]) == pytest.approx(mean, rel=1e-14)
        assert float(fit.get_xdata()[1]) == strength[-1]
        # The legend states exponent and interval to the interval's two digits.
        numbers = re.findall(r"[−-]?\d+\.\d+", fit.get_label())
        low, high = (float(arrays[f"{setting}/strong/{n}"]) for n in ("low", "high"))
        stated = [float(n.replace("−", "-")) for n in numbers]
        assert stated[0] == pytest.approx(
            float(arrays[f"{setting}/strong/exponent"]), abs=high - low
        )
        assert stated[1:] == pytest.approx([low, high], abs=0.1 * (high - low))


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
