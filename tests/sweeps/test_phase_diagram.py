"""The phase diagram on a small grid: the report, its lines, the collapse, and its range."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ssmbias
from ssmbias.models import reference_start
from ssmbias.report.pages.phase.maps import parting_figure
from ssmbias.report.pages.phase.numbers import (
    boundary_strengths,
    collapse_spread,
    gap_rows,
    reach_rows,
)
from ssmbias.report.pages.phase.parts import log_edges, median, named_power
from ssmbias.sweeps.grid import make_grid
from ssmbias.sweeps.phase.diagram import (
    diagram_arrays,
    load_diagram,
    require_diagram,
    write_report,
)
from ssmbias.sweeps.phase.predictions import tied_error, two_leaders_error
from ssmbias.sweeps.settings import DEFAULT_MAPPING, from_mapping
from ssmbias.sweeps.values import parse_values
from ssmbias.theory import (
    clean_limit,
    passage_error_exponent,
    passage_onset,
    passage_second_entry,
    passage_similarity,
)

REPO = Path(__file__).resolve().parents[2]
# One seed has no room for the widest gap: a point without a start must not spoil a diagram.
GRID = {
    "seed": [1, 15, 0],
    "strength": "0 + logspace(-16, 4, 41)",
    "relative_gap": "0.3 + geomspace(3e-7, 3e-2, 6)",
    "init_scale": [1e-2, 1e-3],
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store and the folder of its report."""
    folder = tmp_path_factory.mktemp("phase")
    ssmbias.sweep(GRID, store=folder / "sweep.zarr")
    page = write_report(folder / "sweep.zarr", folder / "report")
    assert page == folder / "report" / "phase_diagram.md"
    return folder / "sweep.zarr", folder / "report"


@pytest.fixture(scope="module")
def arrays(report: tuple[Path, Path]):
    """What the report has saved."""
    return load_diagram(report[1])


def test_everything_is_written(report: tuple[Path, Path], arrays) -> None:
    names = {path.name for path in report[1].iterdir()}
    figures = {f"phase_{n}.{s}" for n in ("map", "collapse", "parting") for s in ("png", "pdf")}
    assert names == figures | {f"phase_diagram.{suffix}" for suffix in ("npz", "csv", "md")}
    for name in figures:
        head = (report[1] / name).read_bytes()[:8]
        assert head.startswith(b"\x89PNG" if name.endswith("png") else b"%PDF")
    text = (report[1] / "phase_diagram.md").read_text()
    assert "1764 trajectories (1680 converged, 84 no_start)" in text
    assert "nan" not in text
    table = (report[1] / "phase_diagram.csv").read_text().splitlines()
    rows = list(csv.DictReader(table))
    assert len(rows) == 14
    gaps = [float(row["relative_gap"]) for row in rows[:7]]
    assert gaps == pytest.approx(sorted(parse_values(str(GRID["relative_gap"]))))
    # Axes ascend whatever the order of the grid; values move with them.
    assert list(arrays["init_scale"]) == [1e-3, 1e-2]
    chosen = ssmbias.open_sweep(report[0]).error.sel(seed=15, init_scale=1e-3)
    np.testing.assert_array_equal(arrays["error"][1, :, :, 0], chosen.sortby("relative_gap"))
    assert np.isnan(arrays["error"][2, :, -1]).all()


def test_predictions_are_those_of_the_library(arrays) -> None:
    start = reference_start(1, 10, 1e-2, 3e-2 * 1e-2)
    limit = np.asarray(clean_limit(start.a, 7, log_gap=start.log_gap))
    error = max(abs((limit**lag).sum() - 1.0) for lag in range(1, 20)) / 10
    assert arrays["clean"][0, 0, -2, 1] == pytest.approx(error, rel=1e-9)
    assert arrays["onset"][0, 0, 0, 1] == float(passage_onset(start.a[0], 7))
    ratio = passage_similarity(start.a, 7, 1e-9, log_gap=start.log_gap)
    index = int(np.argmin(np.abs(arrays["strength"] - 1e-9)))
    assert arrays["similarity"][0, index, -2, 1] == pytest.approx(float(ratio), rel=1e-9)
    # M1 at ρ = 0, M3 up to D = 1, M2 beyond.
    np.testing.assert_array_equal(arrays["predicted"][:2, 0], arrays["weak"][:2, 0])
    np.testing.assert_allclose(arrays["weak"][:2, 0], arrays["clean"][:2, 0], rtol=1e-9)
    np.testing.assert_array_equal(arrays["predicted"][:2, -1], arrays["strong"][:2, 0])


def test_the_collapse_is_real(arrays) -> None:
    """1.1 decades of scatter against ρ become 0.01; a wrong variable leaves ten times that."""
    spread = collapse_spread(arrays)
    assert spread["strength"] > 0.5
    assert spread["ratio"] < spread["strength"] / 4
    # D = 0.2 is predicted to change the error by 10 %, 0.04 decades, between ends of a curve.
    assert spread["similarity"] < 0.04
    assert spread["law"] < 0.1
    assert spread["decades"] > 4
    wrong = {**arrays, "similarity": arrays["ratio"] / arrays["onset"]}
    assert collapse_spread(wrong)["similarity"] > 0.4


def test_the_curve_of_two_leaders() -> None:
    ratio = np.geomspace(1e-8, 1e-4, 5)
    law = 8 / 90 * np.asarray(passage_second_entry(ratio, 7)) ** 2
    np.testing.assert_allclose(two_leaders_error(ratio, 7, 10, 20), law, rtol=1e-5)
    slope = np.polyfit(np.log(ratio), np.log(law), 1)[0]
    assert slope == pytest.approx(passage_error_exponent(7))
    assert two_leaders_error(np.array([1e9]), 7, 10, 20) == pytest.approx(
        tied_error(7, 10, 20), rel=1e-6
    )


def test_boundaries_are_where_they_are_predicted(arrays) -> None:
    """Strengths at which the error reaches 1e-3, above the onset, where they follow the gap."""
    simulated, predicted = boundary_strengths(arrays, 1e-3)
    onset = median(arrays["onset"])[0]
    above = predicted > 10 * onset
    assert above.sum() >= 4
    # D = 0.2 delays the level by 10 % in the error, and 21 % in the strength.
    assert np.all(simulated[above] / predicted[above] < 1.25)
    assert np.all(simulated[above] / predicted[above] > 0.97)  # grid: two strengths a decade
    # Control: the line of another gap is a factor of ten away and more.
    assert np.all(simulated[1:4, 0] / predicted[:3, 0] > 5)
    # Below the onset nothing changes; above it the error of a near-tie does.
    error, strength = median(arrays["error"])[..., 0, 1], arrays["strength"]
    below = (strength > 0) & (strength < 1e-3 * onset[0, 1])
    assert np.ptp(error[below]) < 2e-3 * error[below].max()
    after = np.argmin(np.abs(np.log(strength[1:] / (10 * onset[0, 1])))) + 1
    assert error[after] > 1.5 * error[below].max()


def test_m3_is_as_good_as_it_claims(arrays) -> None:
    for row in reach_rows(arrays):
        assert row.points > 50
        assert row.within == 1.0
        assert 0.5 * row.level < row.largest <= row.level
        assert row.outside < 0.7  # it would not be without the bound
    strong = arrays["strength"] >= 10 * float(arrays["strong_strength"])
    difference = median(np.abs(arrays["predicted"] / arrays["error"] - 1.0))
    assert difference[strong].max() < 0.01
    assert difference[arrays["strength"] == 0].max() < 1e-9
    between = (arrays["strength"] > 1e-5) & (arrays["strength"] < 1e-3)
    assert difference[between].max() > 0.5


def test_the_error_is_not_monotone(arrays) -> None:
    rows = [row for row in gap_rows(arrays) if row.init_scale == 1e-3]
    assert [row.turns for row in rows[2:]] == [1] * 5
    assert rows[0].turns == 0
    assert rows[0].worst == pytest.approx(float(arrays["tied_error"]), rel=1e-3)
    # The limit is not continuous at ρ = 0: poison too weak to matter removes the first order.
    assert all(row.weakest < 0.1 * row.clean for row in rows)
    # A wide gap generalises at every strength, even better than without poison.
    assert rows[-1].worst < rows[-1].clean < 1e-3


@pytest.mark.parametrize(
    ("grid", "settings", "message"),
    [
        (
            {"strength": [0.0, 1.0], "relative_gap": [1e-3, 1e-2]},
            {},
            "strength: positive values: 1, and",
        ),
        ({"strength": [1e-9, 1.0]}, {}, "relative_gap: positive values: 0, and"),
        ({"strength": [1e-9, 1.0], "gap": [1e-6, 1e-5]}, {}, "give relative_gap"),
        ({"strength": [1e-9, 1.0], "relative_gap": [0, 1e-3, 1e-2]}, {}, "an exact tie"),
        ({"strength": [1e-9, 1.0], "relative_gap": [1e-3, 1e-2]}, {"state_dim": 2}, "state_dim=2"),
    ],
)
def test_what_is_no_diagram_is_refused(grid: dict, settings: dict, message: str) -> None:
    attrs = {
        "grid": make_grid(grid, **settings).to_json(),
        "settings": '{"trainable": "a", "horizon": 20}',
    }
    with pytest.raises(ValueError, match=message):
        require_diagram(make_grid(grid, **settings))  # before any work
    with pytest.raises(ValueError, match=message):
        diagram_arrays(SimpleNamespace(attrs=attrs))  # pyright: ignore[reportArgumentType]


def test_an_axis_left_out_has_one_value() -> None:
    grid = {"strength": [1e-12, 1e-9], "relative_gap": [1e-4, 1e-3], "seed": [1]}
    found, counts = diagram_arrays(ssmbias.sweep(grid))
    assert counts == {"converged": 4}
    assert found["error"].shape == found["predicted"].shape == (1, 2, 2, 1)
    assert list(found["init_scale"]) == [1e-3]


def test_the_configuration_keeps_its_rule() -> None:
    """At least 20 000 trajectories, and the first seeds that have room for the widest gap."""
    import yaml

    text = (REPO / "conf/experiment/phase_diagram.yaml").read_text()
    assert text.startswith("# @package _global_\n")
    job = from_mapping({**DEFAULT_MAPPING, **yaml.safe_load(text)})
    assert job.grid.num_points >= 20_000
    assert job.report == "phase_diagram"
    axes = dict(job.grid.axes)
    widest = max(axes["relative_gap"])
    fitting = []
    for seed in range(max(int(s) for s in axes["seed"]) + 1):
        try:
            reference_start(seed, job.grid.state_dim, 1.0, widest)
        except ValueError:
            continue
        fitting.append(seed)
    assert list(axes["seed"]) == fitting


def test_parts_of_figures(arrays) -> None:
    edges = log_edges(np.array([1.0, 10.0, 100.0]))
    np.testing.assert_allclose(edges, 10.0 ** np.array([-0.5, 0.5, 1.5, 2.5]))
    assert named_power(1e-3) == "10^{-3}"
    assert named_power(0.05) == r"5\times 10^{-2}"
    values = np.array([[1.0, np.nan], [np.inf, np.nan], [3.0, np.nan]])
    np.testing.assert_array_equal(median(values), [2.0, math.nan])
    with pytest.raises(ValueError, match="predicted missing"):
        parting_figure({k: v for k, v in arrays.items() if k != "predicted"})
