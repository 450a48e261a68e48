"""Grids: what is accepted, in which order points come, and what is refused before any work."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ssmbias.models import reference_start
from ssmbias.sweeps.grid import AXES, DEFAULTS, Grid, make_grid
from ssmbias.sweeps.room import RoomNeeded, estimate, require_room
from ssmbias.sweeps.values import MAX_VALUES, parse_values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("logspace(-9, 3, 13)", [float(f"1e{k}") for k in range(-9, 4)]),
        ("logspace(-1,+1,3)", [0.1, 1.0, 10.0]),
        ("linspace(0,1,11)", [k / 10 for k in range(11)]),
        ("geomspace(1e-9, 1e3, 2)", [1e-9, 1e3]),
        ("range(3)", [0, 1, 2]),
        ("arange(10, 16, 2)", [10, 12, 14]),
        ("range(3, 0, -1)", [3, 2, 1]),
        ("0 + logspace(0, 1, 2) + 1e+3", [0, 1.0, 10.0, 1000.0]),
        ("1 + (2 + 3)", [1, 2, 3]),
        ("[0, range(2)], 7", [0, 0, 1, 7]),
        (" -1.5 ", [-1.5]),
        ("range(0)", []),
    ],
)
def test_texts_are_read(text, expected):
    assert list(parse_values(text)) == expected


@pytest.mark.parametrize(
    ("text", "oracle"),
    [
        ("logspace(-9.3, 3.1, 60)", np.logspace(-9.3, 3.1, 60)),
        ("geomspace(1e-9, 1e3, 60)", np.geomspace(1e-9, 1e3, 60)),
        ("linspace(-1, 0.3, 7)", np.linspace(-1, 0.3, 7)),
    ],
)
def test_generators_agree_with_numpy(text, oracle):
    # Either side rounds the exponent, |e| ln 10 <= 21 of them, and then the power.
    np.testing.assert_allclose(parse_values(text), oracle, rtol=64 * np.finfo(float).eps, atol=0)
    assert parse_values(text)[-1] == oracle[-1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "logspace(-9, 3)",
        "logspace(-9, 3, 60.0)",
        "logspace(-9, 3, 0)",
        "logspace(0, 1, 1)",
        "logspace(0, 1, num=3)",
        "geomspace(0, 1, 3)",
        "range(0.5)",
        "range(1, 2, 0)",
        "range()",
        "np.logspace(0, 1, 2)",
        "lognspace(0, 1, 2)",
        "1 - 2",
        "2 * 3",
        "2 ** 3",
        "'a'",
        "True",
        "1j",
        "x",
        "__import__('os').system('true')",
        "[1 for x in y]",
        "1 +",
        "(" * 5000,
        "-" * 20000 + "1",
        f"range({10**12})",
        "linspace(0, 1, 10000000)",
    ],
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="strength") as err:
        parse_values(text, "strength")
    assert len(str(err.value)) < 600


def test_order_is_canonical_and_that_of_values_kept():
    grid = make_grid({"init_scale": 1e-2, "strength": (3, 1.0, 2), "seed": np.arange(2)})
    assert grid.names == ("seed", "strength", "init_scale")
    assert grid.shape == (2, 3, 1)
    assert dict(grid.axes)["strength"] == (3.0, 1.0, 2.0)
    again = make_grid({"seed": "range(2)", "init_scale": [0.01], "strength": ["3 + 1", 2]})
    assert again == grid
    assert again.fingerprint() == grid.fingerprint()


def test_fingerprint_tells_grids_apart():
    base = {"seed": [0, 1], "strength": [0.1, 0.3]}
    others = [
        make_grid(base | {"strength": [0.1, np.nextafter(0.3, 1)]}),
        make_grid(base | {"strength": [0.3, 0.1]}),
        make_grid(base | {"init_scale": 1e-3}),
        make_grid(base, seq_len=9),
        make_grid(base, state_dim=11),
    ]
    prints = {grid.fingerprint() for grid in (make_grid(base), *others)}
    assert len(prints) == 6


def test_json_returns_every_bit():
    rng = np.random.default_rng(0)
    strengths = np.exp(rng.uniform(-700, 700, 200))
    gaps = [0.0, 5e-324, 0.1 + 0.2, *rng.uniform(0, 1e-3, 50)]
    grid = make_grid({"strength": strengths, "gap": gaps, "seed": [2**32 - 1]}, 9, 20)
    assert Grid.from_json(grid.to_json()) == grid
    assert Grid.from_json(grid.to_json()).to_json() == grid.to_json()
    with pytest.raises(ValueError, match=r"Grid\.to_json"):
        Grid.from_json("{}")


def test_points_are_the_product_in_c_order():
    grid = make_grid({"seed": [5, 2], "strength": [0, 1, 10], "gap": [1e-9, 0.0]})
    points = grid.points()
    assert tuple(points) == AXES
    expected = [(s, r, g) for s in (5, 2) for r in (0.0, 1.0, 10.0) for g in (1e-9, 0.0)]
    columns = (points[name].tolist() for name in ("seed", "strength", "gap"))
    assert list(zip(*columns, strict=True)) == expected
    assert points["seed"].dtype == np.int64
    part = grid.points(3, 8)
    for name in AXES:
        np.testing.assert_array_equal(part[name], points[name][3:8])
    assert all(x.size == 0 for x in grid.points(4, 4).values())
    with pytest.raises(ValueError, match=r"0\.\.12"):
        grid.points(5, 13)


def test_axes_left_out_are_those_of_the_reference_setting():
    points = make_grid({"seed": [242]}).points()
    # κ = 7 of Theorem 1's experiments, to the last bit: its published limits start from there.
    assert points["gap"].tolist() == [0.05 * math.exp(-15)]
    assert points["init_scale"].tolist() == [1e-3]
    assert points["strength"].tolist() == [DEFAULTS["strength"]]
    assert reference_start(242, 10, 1e-3, float(points["gap"][0])).a[0] == 0.0008398421491762683


def test_relative_gap_follows_the_scale():
    grid = make_grid({"relative_gap": [0.5, 0.1], "init_scale": [1e-2, 1e-3]})
    expected = [0.5 * 1e-2, 0.5 * 1e-3, 0.1 * 1e-2, 0.1 * 1e-3]
    assert grid.points()["gap"].tolist() == expected
    scaled = make_grid({"init_scale": [1e-3, 1e-2]}).points()
    np.testing.assert_allclose(scaled["gap"][1], 10 * scaled["gap"][0], rtol=1e-15)


def test_a_start_without_room_for_its_gap_is_no_error_of_the_grid():
    points = make_grid({"relative_gap": 0.99, "seed": 0}).points()
    with pytest.raises(ValueError, match="gap"):
        reference_start(0, 10, float(points["init_scale"][0]), float(points["gap"][0]))


@pytest.mark.parametrize(
    ("grid", "options", "words"),
    [
        ({}, {}, ["grid", "empty", "seed"]),
        ([1], {}, ["grid", "mapping"]),
        ({"strenght": [1]}, {}, ["'strenght'", "did you mean strength?", "known", "init_scale"]),
        ({"rho": [1]}, {}, ["'rho'", "did you mean strength?", "known"]),
        ({"colour": [7]}, {}, ["'colour'; known: seed"]),
        ({3: [7]}, {}, ["3", "known"]),
        ({"seq_len": [5, 7]}, {}, ["'seq_len' is an argument of sweep, not an axis"]),
        ({"seed": []}, {}, ["seed", "no values"]),
        ({"seed": "range(0)"}, {}, ["seed", "no values"]),
        ({"seed": [1, 2, 1]}, {}, ["seed", "1 is there twice"]),
        ({"strength": [0.0, -0.0]}, {}, ["strength", "0.0 is there twice"]),
        ({"strength": "0 + linspace(0, 1, 3)"}, {}, ["strength", "twice"]),
        ({"strength": [1, math.inf]}, {}, ["strength", "inf", "finite"]),
        ({"gap": [math.nan]}, {}, ["gap", "nan", "finite"]),
        ({"gap": [10**400]}, {}, ["gap", "finite"]),
        ({"strength": [-1.0]}, {}, ["strength=-1.0", "0 or greater"]),
        ({"gap": -1e-9}, {}, ["gap=-1e-09", "0 or greater"]),
        ({"seed": [0.5]}, {}, ["seed=0.5", "integers"]),
        ({"seed": "linspace(0, 2, 3)"}, {}, ["seed=0.0", "range"]),
        ({"seed": [True]}, {}, ["seed=True", "integers"]),
        ({"seed": -1}, {}, ["seed=-1", "0..4294967295"]),
        ({"seed": 2**32}, {}, ["seed=4294967296", "0..4294967295"]),
        ({"init_scale": [1e-3, 0]}, {}, ["init_scale=0.0", "(0, 1)"]),
        ({"init_scale": 1}, {}, ["init_scale=1.0", "(0, 1)"]),
        ({"gap": 1e-9, "relative_gap": 0.1}, {}, ["gap", "relative_gap", "both"]),
        ({"relative_gap": [0.1, 1.0]}, {}, ["relative_gap=1.0", "smaller than 1"]),
        ({"strength": "logspce(0, 1, 2)"}, {}, ["strength", "logspce", "logspace(-9, 3, 60)"]),
        ({"strength": [1, "x"]}, {}, ["strength", "'x'"]),
        ({"strength": [[1]]}, {}, ["strength", "[1]", "number"]),
        ({"strength": None}, {}, ["strength", "None"]),
        ({"strength": {1.0, 2.0}}, {}, ["strength", "list"]),
        ({"strength": 1j}, {}, ["strength", "1j"]),
        ({"strength": np.ones((2, 2))}, {}, ["strength", "(2, 2)", "one-dimensional"]),
        ({"strength": np.ones(2, np.float32)}, {}, ["strength", "float32", "float64"]),
        ({"strength": np.array(["1"])}, {}, ["strength", "numbers"]),
        ({"seed": range(10**9)}, {}, ["seed", "1000000000", str(MAX_VALUES)]),
        ({"seed": 1}, {"seq_len": 6}, ["seq_len=6", "odd"]),
        ({"seed": 1}, {"seq_len": 3}, ["seq_len=3", "5"]),
        ({"seed": 1}, {"state_dim": 1}, ["state_dim=1", "2"]),
    ],
)
def test_bad_grids_are_refused(grid, options, words):
    with pytest.raises(ValueError) as err:  # noqa: PT011
        make_grid(grid, **options)
    for word in words:
        assert word in str(err.value)


def test_estimate_counts_what_is_kept():
    small = make_grid({"seed": range(100)}, state_dim=10)
    assert estimate(small).points == 100
    arrays = 100 * (8 + 8 + 1 + 4 + 80)  # error, loss, outcome, steps, state
    assert estimate(small).bytes_in_memory >= arrays
    assert arrays <= estimate(small).bytes_on_disk <= 1.5 * arrays + 2**17
    more = estimate(small, saved_times=50)
    assert more.bytes_on_disk - estimate(small).bytes_on_disk >= 100 * 50 * 80
    assert more.bytes_in_memory > estimate(small).bytes_in_memory + 100 * 50 * 80


def test_what_does_not_fit_is_refused(tmp_path):
    huge = make_grid({"seed": range(10**6), "strength": "linspace(0, 1, 1000000)"})
    with pytest.raises(ValueError, match=r"1000000000000 points take .* TB of memory"):
        require_room(estimate(huge))
    with pytest.raises(ValueError, match=r"take up to .* PB of disk"):
        require_room(RoomNeeded(10**12, 0, 10**16), tmp_path / "not" / "there" / "yet")
    small = estimate(make_grid({"seed": range(10)}))
    require_room(small, tmp_path / "store")
    require_room(small)
    # 10 (21 of scalars, 32 of inputs, 80 of the state: kept, start, twins, handed out)
    with pytest.raises(ValueError, match=r"10 points take 3\.73 kB of memory, and 100 B"):
        require_room(small, memory=100)


def test_place_that_takes_no_files_is_not_called_full(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("shutil.disk_usage", lambda _: pytest.fail("asked for space first"))
    with pytest.raises(ValueError, match=r"cannot be written to .Permission denied.; give another"):
        require_room(RoomNeeded(10, 0, 6000), tmp_path / "new")


def test_what_a_store_holds_already_need_not_fit_again(tmp_path, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    (tmp_path / "chunk").write_bytes(b"x" * 5000)
    require_room(RoomNeeded(10, 0, 6000), tmp_path)
    with pytest.raises(ValueError, match="disk"):
        require_room(RoomNeeded(10, 0, 6001), tmp_path)
