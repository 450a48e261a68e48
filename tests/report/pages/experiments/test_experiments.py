"""Tables and figures of the experiments: read back, and looked at as objects."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from ssmbias.metrics import effective_rank as package_rank
from ssmbias.report.numbers import Spread, format_number, format_reported, spread_in_latex
from ssmbias.report.pages.experiments import (
    DynamicsPanel,
    FindingPanel,
    OutcomeRow,
    OwnSummary,
    PairedErrors,
    PairRow,
    dynamics_figure,
    effective_rank,
    findings_figure,
    plot_findings,
    plot_replays,
    plot_seeds,
)
from ssmbias.report.style import BLUE, RED
from ssmbias.report.table import table_of, write_table

THIRD = 1.0 / 3.0
OWN = OwnSummary(THIRD * 1e-5, 2e-6, 7.1e-6, 3e-6, 12, excluded=4)
OUTCOMES = [
    OutcomeRow("poison_ssm_len6", "clean", "train loss", 2.2e-5, THIRD, 4, OWN),
    OutcomeRow("poison_ssm_len6", "clean", "test error, 50 % & more", None, None, 0, None),
    OutcomeRow("poison_ssm_len6", "poisoned", "|a_10|", 16.62, 16.0, 2, OWN._replace(excluded=0)),
    OutcomeRow("dyn {x}\\y $#~^", "clean", "train loss", np.nan, np.float64(THIRD), 1, OWN),
]
PAIRS = [
    PairRow(
        "poison_nn_len6", stage, 16, 2, 1.5, 1.25, THIRD * 6, 1.4,
        np.nan, np.nan, np.nan, 1.0, 0.79, 1.0, verdict,
    )
    for stage, verdict in (
        ("paper's stopping rule", "poison hurts"), ("convergence", "inconclusive")
    )
]  # fmt: skip


def latex(rows: Any) -> str:
    return table_of(rows, "Clean & poisoned: 95 % of κ, a_1").latex("tab:poison")


def markdown(rows: Any) -> str:
    return table_of(rows).markdown()


def comma_separated(rows: Any) -> str:
    return table_of(rows).csv()


def test_csv_keeps_every_digit() -> None:
    read = list(csv.DictReader(io.StringIO(comma_separated(OUTCOMES))))
    assert len(read) == len(OUTCOMES)
    for row, cells in zip(OUTCOMES, read, strict=True):
        fields = row._asdict()
        own = fields.pop("own") or OwnSummary(*[None] * 6)  # pyright: ignore
        fields |= {f"own_{name}": value for name, value in own._asdict().items()}
        assert list(cells) == list(fields)
        for name, value in fields.items():
            if value is None:
                assert cells[name] == ""
            elif isinstance(value, str):
                assert cells[name] == value
            else:
                assert float(cells[name]) == value or (np.isnan(value) and cells[name] == "nan")
    pairs = list(csv.DictReader(io.StringIO(comma_separated(PAIRS))))
    assert list(pairs[0]) == list(PairRow._fields)
    assert float(pairs[1]["log_ratio_high"]) == THIRD * 6
    assert pairs[1]["verdict"] == "inconclusive"


@pytest.mark.parametrize("rows", [OUTCOMES, PAIRS])
def test_markdown_has_a_cell_for_every_column(rows: Any) -> None:
    lines = markdown(rows).splitlines()
    # A bar that is no separator is escaped.
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert {len(line) for line in cells} == {len(cells[0])}
    assert len(lines) == 2 + len(rows)
    assert all(re.fullmatch(r" -+:? ", cell) for cell in cells[1])


def test_markdown_prints_four_digits() -> None:
    lines = markdown(OUTCOMES).splitlines()[2:]
    assert (
        "| 2.2e-05 | 0.3333 | 4 | 3.333e-06 [2.000e-06, 7.100e-06] | 3.000e-06 | 12 of 16 |"
        in (lines[0])
    )
    assert lines[1].endswith("| - | - | 0 | - | - | - |")
    assert r"\|a\_10\|" in lines[2]
    assert lines[2].endswith("| 12 |")
    pairs = markdown(PAIRS).splitlines()[2:]
    assert "| 16 of 18 | 1.500 [1.250, 2.000] | 1.400 | - | 1.000 [0.7900, 1.000] |" in pairs[0]


@pytest.mark.parametrize("rows", [OUTCOMES, PAIRS])
def test_latex_is_well_formed(rows: Any) -> None:
    text = latex(rows)
    begun = re.findall(r"\\begin\{([^}]*)\}", text)
    assert begun == ["table*", "tabular"]
    assert re.findall(r"\\end\{([^}]*)\}", text) == begun[::-1]
    # Braces balance and every dollar has its partner, escaped ones apart.
    bare = re.sub(r"\\[\\{}$&%#_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert all(line.count("$") % 2 == 0 for line in bare.splitlines())
    assert "#" not in bare
    assert bare.isascii()
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert columns is not None
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith("\\\\")]
    for line in lines:
        spanned = "\\multicolumn" in line
        separators = len(re.findall(r"(?<!\\)&", line))
        assert separators == (0 if spanned else len(columns[1]) - 1)
    assert len(lines) == 1 + len(rows) + len({row.experiment for row in rows})
    # Outside of formulas an underscore or a circumflex is an error.
    assert not re.search(r"(?<!\\)[_^]", re.sub(r"\$[^$]*\$", "", bare))
    assert r"\caption{Clean \& poisoned: 95 \% of $\kappa$, a\_1}" in text
    assert r"\label{tab:poison}" in text


def test_latex_prints_as_a_paper() -> None:
    text = latex(OUTCOMES)
    assert r"clean & train loss & $2.2 \times 10^{-5}$ & $0.3333$ & $4$ & $3.333\," in text
    assert r"$3.333\,[2.000, 7.100] \times 10^{-6}$" in text
    assert r"\texttt{poison\_ssm\_len6}" in text
    assert r"test error, 50 \% \& more & -- & -- & $0$ & -- & -- & --" in text
    assert "poisoned & $|a_{10}|$ & $16.62$" in text
    assert latex(PAIRS).count(r"\midrule") == 1


def test_a_label_cannot_break_out() -> None:
    with pytest.raises(ValueError, match="label='tab}': use letters"):
        table_of(PAIRS).latex("tab}")


@pytest.mark.parametrize("rows", [[], [OUTCOMES[0], PAIRS[0]]])
@pytest.mark.parametrize("write", [comma_separated, markdown, latex])
def test_rows_of_no_or_two_kinds_are_refused(write: Any, rows: Any) -> None:
    with pytest.raises(ValueError, match="pass a list of rows of one kind"):
        write(rows)


def test_tables_are_written_whole(tmp_path: Path) -> None:
    # A dot in the name is part of it.
    paths = write_table(tmp_path, "table1.v2", table_of(OUTCOMES, "c"), label="t")
    assert [path.name for path in paths] == ["table1.v2.md", "table1.v2.tex", "table1.v2.csv"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert paths[0].read_text() == markdown(OUTCOMES)
    assert paths[1].read_text() == table_of(OUTCOMES, "c").latex("t")
    assert paths[2].read_bytes() == comma_separated(OUTCOMES).encode()


def test_numbers_keep_four_digits() -> None:
    rng = np.random.default_rng(0)
    for value in rng.normal(size=200) * 10.0 ** rng.integers(-30, 30, 200):
        # Half a unit of the fourth digit of a mantissa of at least 1.
        assert float(format_number(value)) == pytest.approx(value, rel=0.5e-3)
    assert [format_number(x) for x in (9.99996, 9999.6, 0.00099999)] == [
        "10.00",
        "1.000e+04",
        "0.001000",
    ]
    assert format_reported(100.0) == "100"
    assert format_reported(np.nan) == "-"


@pytest.mark.parametrize(
    ("spread", "expected"),
    [
        ((0.0, 0.0, 0.0), "$0\\,[0, 0]$"),
        ((0.0, 0.0, 0.2059), "$0.0000\\,[0.0000, 0.2059]$"),
        ((-1.5, -2.25, None), "$-1.500$\\,[$-2.250$, --]"),
        ((0.5, np.nan, np.nan), "$0.5000$"),
        ((None, 0.1, 0.2), "--"),
        ((2e4, 1e4, 1.5e5), "$0.200\\,[0.100, 1.500] \\times 10^{5}$"),
    ],
)
def test_intervals_in_latex(spread: tuple[float | None, ...], expected: str) -> None:
    assert spread_in_latex(Spread(*spread)) == expected


def panel(title: str = "standalone, clean\n(seed 1)", seed: int = 0, **changes: Any) -> Any:
    """A panel with everything: 30 log entries, 7 state entries, 6 of 8 seeds."""
    rng = np.random.default_rng(seed)
    step = np.arange(30) * 100
    a = rng.normal(size=(30, 7)) * np.linspace(0.1, 1.0, 30)[:, None]
    poisoned = "poisoned" in title
    gamma0 = np.linspace(2.0, -0.5, 30) * poisoned
    own = rng.normal(size=(6, 22, 7))
    fields = {
        "replay_step": step,
        "replay_a": a,
        "replay_rank": effective_rank(a),
        "replay_gamma0": gamma0,
        "original_step": step,
        "original_a": a + 1e-3,
        "original_gamma0": gamma0,
        "eps_step": 1234,
        "own_progress": np.concatenate([np.linspace(0, 1, 11), np.linspace(1, 2, 11)]),
        "own_a": own,
        "own_rank": effective_rank(own),
        "own_gamma0": rng.normal(size=(6, 22)) * poisoned,
        "num_seeds": 8,
    }
    return DynamicsPanel(title, **(fields | changes))


PANELS = [panel(), panel("standalone, poisoned\n(seed 1)", seed=1)]
NO_REPLAY = {f.name: None for f in dataclasses.fields(DynamicsPanel) if "replay" in f.name}
NO_ORIGINAL = {f.name: None for f in dataclasses.fields(DynamicsPanel) if "original" in f.name}
NO_OWN = {f.name: None for f in dataclasses.fields(DynamicsPanel) if "own" in f.name}


def columns(figure: Figure) -> np.ndarray:
    """Axes by column."""
    return np.reshape(figure.axes, (3, -1)).T


def curves(ax: Axes, marker: str = "None") -> list[Any]:
    """Lines of data, without the mark of the phases' boundary."""
    return [x for x in ax.get_lines() if x.get_marker() == marker and len(x.get_xdata()) > 2]


def legend_texts(owner: Any) -> list[str]:
    return [text.get_text() for legend in owner.legends for text in legend.get_texts()]


def notes(column: np.ndarray) -> list[str]:
    return [text.get_text() for ax in column for text in ax.texts]


def test_effective_rank_is_the_packages() -> None:
    a = np.random.default_rng(0).normal(size=(5, 9))
    # Ten terms of size one each with a few roundings.
    expected = [float(package_rank(row)) for row in a]
    np.testing.assert_allclose(effective_rank(a), expected, rtol=1e-14)


def test_replays_are_lines_and_originals_marks() -> None:
    figure = plot_replays(PANELS)
    for column, drawn, colour in zip(columns(figure), PANELS, (BLUE, RED), strict=True):
        entries, rank, gamma0 = column
        top = np.sort(np.abs(drawn.replay_a), axis=1)[:, ::-1]
        lines = curves(entries)
        assert len(lines) == 5
        for j, line in enumerate(lines):
            np.testing.assert_array_equal(line.get_xdata(), drawn.replay_step)
            np.testing.assert_array_equal(line.get_ydata(), top[:, j])
        assert same_color(lines[0].get_color(), colour)
        assert len({line.get_color() for line in lines}) == 5
        np.testing.assert_array_equal(curves(rank)[0].get_ydata(), drawn.replay_rank)
        np.testing.assert_array_equal(curves(gamma0)[0].get_ydata(), drawn.replay_gamma0)
        # Marks are entries of the original, from the first to the last.
        marks = curves(entries, "o")
        assert len(marks) == 5
        chosen = np.isin(drawn.original_step, marks[0].get_xdata())
        assert chosen[0]
        assert chosen[-1]
        original = np.sort(np.abs(drawn.original_a), axis=1)[chosen, ::-1]
        for j, mark in enumerate(marks):
            np.testing.assert_array_equal(mark.get_ydata(), original[:, j])
        expected = effective_rank(drawn.original_a)[chosen]
        np.testing.assert_array_equal(curves(rank, "o")[0].get_ydata(), expected)
        for ax in column:
            boundary = [x for x in ax.get_lines() if len(x.get_xdata()) == 2]
            assert [list(x.get_xdata()) for x in boundary] == [[1234, 1234]]
    assert legend_texts(figure) == ["replay", "original", "training loss ≤ eps"]
    assert [ax.get_ylabel() for ax in columns(figure)[0]] == [
        r"five largest $\mid\!a_j\!\mid$",
        "effective rank",
        r"$\gamma_0$",
    ]
    assert {column[2].get_xlabel() for column in columns(figure)} == {"iteration"}
    assert [column[0].get_title() for column in columns(figure)] == [p.title for p in PANELS]
    assert columns(figure)[0, 2].get_yscale() == "symlog"
    assert [notes(column) for column in columns(figure)] == [["exactly 0"], []]


def test_seeds_are_median_and_band() -> None:
    figure = plot_seeds(PANELS)
    for column, drawn in zip(columns(figure), PANELS, strict=True):
        top = np.sort(np.abs(drawn.own_a), axis=-1)[..., ::-1]
        for ax, values in zip(column, (top[..., 0], drawn.own_rank, drawn.own_gamma0), strict=True):
            low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
            np.testing.assert_array_equal(curves(ax)[0].get_ydata(), middle)
            path = ax.collections[0].get_paths()[0].vertices
            assert (path[:, 1].min(), path[:, 1].max()) == (low.min(), high.max())
        assert len(curves(column[0])) == 5
        assert column[0].get_title() == f"{drawn.title.splitlines()[0]}\n(6 of 8 seeds)"
        assert "progress" in column[2].get_xlabel()
        assert column[2].get_xlim() == (0.0, 2.0)
    assert legend_texts(figure) == ["median", "10–90 % of the seeds", "training loss ≤ eps"]


def test_runs_that_blew_up_are_counted_out() -> None:
    own_a = PANELS[0].own_a.copy()
    own_a[2, 5, 0] = np.inf
    (column,) = columns(plot_seeds([dataclasses.replace(PANELS[0], own_a=own_a)]))
    assert "(5 of 8 seeds)" in column[0].get_title()
    kept = np.delete(PANELS[0].own_rank, 2, axis=0)
    np.testing.assert_array_equal(curves(column[1])[0].get_ydata(), np.median(kept, axis=0))


@pytest.mark.parametrize(
    ("changes", "draw", "expected"),
    [
        (NO_REPLAY | NO_ORIGINAL, plot_replays, ["no replay:\nnothing exported"] * 3),
        (NO_ORIGINAL, plot_replays, ["not recorded\nby the original", "exactly 0"]),
        (NO_REPLAY, plot_replays, ["not replayed"]),
        ({"replay_rank": None}, plot_replays, ["not replayed", "exactly 0"]),
        (NO_OWN, plot_seeds, ["no run ended\nas required"] * 3),
        (NO_OWN | {"num_seeds": 0}, plot_seeds, ["no runs"] * 3),
        ({"own_rank": None}, plot_seeds, ["not run", "exactly 0"]),
    ],
)
def test_what_is_missing_is_said(
    changes: dict[str, None], draw: Any, expected: list[str], tmp_path: Path
) -> None:
    figure = draw([panel(**changes), PANELS[1]])
    assert notes(columns(figure)[0]) == expected
    assert notes(columns(figure)[1]) == []
    figure.savefig(tmp_path / "figure.png", dpi=40)  # without a warning


def test_figures_are_saved_for_print(tmp_path: Path) -> None:
    paths = dynamics_figure(PANELS[:1], tmp_path / "figure2")
    names = ["figure2.png", "figure2.pdf", "figure2_seeds.png", "figure2_seeds.pdf"]
    assert [path.name for path in paths] == names
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    for path in (paths[1], paths[3]):
        assert b"/FontFile2" in path.read_bytes()
        assert b"/Type3" not in path.read_bytes()
    again = dynamics_figure(PANELS[:1], tmp_path / "again")
    other = dynamics_figure([panel(seed=2)], tmp_path / "other")
    for one, two, three in zip(paths, again, other, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes() != three.read_bytes()


def test_a_figure_without_data_is_left_out(tmp_path: Path) -> None:
    paths = dynamics_figure([panel(**NO_OWN)], tmp_path / "a")
    assert [path.name for path in paths] == ["a.png", "a.pdf"]
    paths = dynamics_figure([panel(**NO_REPLAY, **NO_ORIGINAL)], tmp_path / "b")
    assert [path.name for path in paths] == ["b_seeds.png", "b_seeds.pdf"]
    for panels in ([], [DynamicsPanel("empty")]):
        with pytest.raises(ValueError, match="none holds a replay or runs"):
            dynamics_figure(panels, tmp_path / "c")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replay_step": np.arange(30) % 20}, "replay_step .* never decreases; .* second phase"),
        ({"original_step": np.zeros(0)}, "original_step .* one axis"),
        ({"replay_rank": np.ones(29)}, r"replay_rank .* shape \(29,\): .* 30 entries"),
        ({"own_a": np.ones((6, 22))}, r"own_a .* shape \(6, 22\): expected 3 axes"),
        ({"own_gamma0": np.ones((22, 6))}, r"own_gamma0 .* 22 entries as in own_progress"),
    ],
)
def test_arrays_that_do_not_match_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        panel(**changes)


CLEAN = np.array([0.1, 0.2, 0.3, 0.4, np.nan])
POISONED = np.array([1.0, 2.0, 0.03, 5.0, 1.0])
USABLE = np.array([True, True, True, False, False])


def findings(**changes: Any) -> list[FindingPanel]:
    fields = {"reported": (0.19, 16.6), "verdict": "poison hurts"} | changes
    stage = PairedErrors(CLEAN, POISONED, USABLE, **fields)
    return [FindingPanel("poison_ssm_len6", stage, None), FindingPanel("other", stage, stage)]


def subplots(figure: Figure) -> list[Axes]:
    """Axes in all parts of a figure."""
    return list(figure.axes) if figure.axes else [a for part in figure.subfigs for a in part.axes]


def points(ax: Axes, marker: str) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for line in ax.get_lines()
        if line.get_marker() == marker
        for x, y in zip(*line.get_data(), strict=True)
    ]


def test_findings_show_every_pair_in_its_kind() -> None:
    figure = plot_findings(findings())
    stopping, converged, *_ = subplots(figure)
    assert points(stopping, "^") == [(0.1, 1.0), (0.2, 2.0)]
    assert points(stopping, "v") == [(0.3, 0.03)]
    assert points(stopping, "x")[0] == (0.4, 5.0)
    assert points(stopping, "*") == [(0.19, 16.6)]
    (identity,) = curves_of_two(stopping)
    np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
    low, high = stopping.get_xlim()
    assert low < 0.03
    assert high > 16.6
    assert stopping.get_ylim() == (low, high)
    assert (stopping.get_xscale(), stopping.get_yscale()) == ("log", "log")
    assert (stopping.get_xlabel(), stopping.get_ylabel()) == (
        "clean test error",
        "poisoned test error",
    )
    assert stopping.get_title() == "stopping rule, 3 of 5 pairs\npoison hurts"
    assert converged.get_title() == "convergence"
    assert notes(np.array([converged])) == ["not defined\nor not run"]
    texts = [text for part in figure.subfigs for text in legend_texts(part)]
    assert texts == ["poison hurts", "poison helps", "left out", "reported means", "equal"]


def curves_of_two(ax: Axes) -> list[Any]:
    return [line for line in ax.get_lines() if line.get_marker() == "None"]


def test_findings_are_saved(tmp_path: Path) -> None:
    paths = findings_figure(findings(), tmp_path / "findings")
    assert [path.name for path in paths] == ["findings.png", "findings.pdf"]
    other = findings_figure(findings(reported=None), tmp_path / "other")
    for one, two in zip(paths, other, strict=True):
        assert one.read_bytes() != two.read_bytes()
    with pytest.raises(ValueError, match="panels: empty"):
        findings_figure([], tmp_path / "none")


def test_findings_without_a_usable_pair_are_drawn(tmp_path: Path) -> None:
    nothing = PairedErrors(np.full(3, np.nan), np.ones(3), np.zeros(3, bool))
    findings_figure([FindingPanel("a", nothing, None)], tmp_path / "findings")
    with pytest.raises(ValueError, match="one entry a seed"):
        PairedErrors(np.ones(3), np.ones(2), np.ones(3, bool))
