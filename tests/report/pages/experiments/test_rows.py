"""Tables of the experiments: read back in every format."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssmbias.report.pages.experiments import (
    OutcomeRow,
    OwnSummary,
    PairRow,
    tables_of,
)
from ssmbias.report.table import table_of, write_table
from ssmbias.report.terminal import printed

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


def test_saved_rows_make_the_same_tables() -> None:
    saved = json.loads(json.dumps([row._asdict() for row in [*OUTCOMES[:3], *PAIRS]]))
    outcomes, pairs = tables_of(saved, "table1")
    assert outcomes.markdown() == markdown(OUTCOMES[:3])
    assert pairs.markdown() == markdown(PAIRS)
    assert "own mean, 95 % interval" in printed(outcomes, 100)
    assert [table.title for table in tables_of(saved[:1], "figure2")] == ["figure2"]
