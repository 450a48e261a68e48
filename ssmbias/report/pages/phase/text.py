"""The page of a phase diagram's report, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ssmbias.report.cells import Column
from ssmbias.report.pages.phase.numbers import GapRow, ReachRow, boundary_strengths
from ssmbias.report.pages.phase.parts import median
from ssmbias.report.style import Arrays
from ssmbias.report.table import Table

_FIGURES = (
    (
        "phase_map",
        "Median generalisation error over relative gap and poison strength, with the predicted "
        "boundaries. Dotted: simulated error at the named levels. Strip: no poison.",
    ),
    (
        "phase_collapse",
        "The same errors against the strength, against (ρ + ρ₀)/Δ, and against r, in which all "
        "entries count. Coloured: where the passage map is predicted to be good to 10 %.",
    ),
    (
        "phase_parting",
        "Relative difference between the predicted error (M1 without poison, M3 up to a defect "
        "D of 1, M2 beyond) and the simulated one. The line for M2 is at ten times the strength "
        "of the one in the map.",
    ),
)

_TERMS = (
    "κ: length of the training sequences; d: number of states; a: the diagonal of the state "
    "matrix, which alone is trained; S_m: the sum of all a_j^m.",
    "ρ: poison strength, the weight of the special sequence (lag 1) against the baseline one "
    "(lag κ−1); 0 is clean data. Poison is called strong beyond ρ = (κ−1)/d.",
    "Init scale: largest value that an entry of the start can have. Δ: the gap, largest entry "
    "minus second largest at the start; relative gap: Δ / init scale.",
    "Error: largest difference of the impulse responses of student and teacher, divided by d.",
    "ρ₀ = (κ−1) a₁(0)^(κ−2): the onset, strength from which on poison drives the largest entry "
    "a₁ of the start as much as the baseline does.",
    "D: the defect, essentially what S_1 has grown to when the baseline takes over from poison; "
    "what M3 leaves out is of the order of D.",
    "r: (ρ + ρ₀)/Δ of the two nearly tied entries that err like the start with all its entries.",
    "M1: where the clean flow ends, exact. M2: limit for ρ → ∞. M3: the passage map, for weak "
    "poison (small D): entries grow unhindered by S_1 and then drift to S_1 = 1. M4: limit from "
    "an exact tie.",
)


def report_text(
    arrays: Arrays,
    counts: Mapping[str, int],
    rows: Sequence[GapRow],
    spread: Mapping[str, float],
    reach: Sequence[ReachRow],
) -> str:
    """The page.

    Args:
      arrays: what was saved.
      counts: points per outcome.
      rows: errors along each gap; a few of them are shown.
      spread: of the curves before and after the collapse.
      reach: how far the passage map goes.

    Returns:
      Markdown.
    """
    seq_len, dim = int(arrays["seq_len"]), int(arrays["state_dim"])
    ends = ", ".join(f"{number} {name}" for name, number in counts.items())
    lines = [
        f"# Phase diagram: κ = {seq_len}, d = {dim}",
        "",
        f"{arrays['error'].size} trajectories ({ends}): {len(arrays['seed'])} seeds, "
        f"{len(arrays['strength'])} strengths, {len(arrays['relative_gap'])} gaps, "
        f"{len(arrays['init_scale'])} init scales. Errors are normalised, over "
        f"{int(arrays['horizon'])} lags; medians over the seeds. Predictions are theory only.",
        "",
        *(f"- {term}" for term in _TERMS),
        "",
        "Derivations: docs/theory.md, M1 to M4. Columns of phase_diagram.csv and arrays of "
        "phase_diagram.npz: docs/results-schema.md, section “The report of a phase diagram”.",
        "",
    ]
    for name, caption in _FIGURES:
        lines += [f"![{caption}]({name}.png)", "", f"*{caption}*", ""]
    lines += [
        "## Errors along the strength",
        "",
        "Largest: among ρ > 0; the error at ρ = 0 may be larger still. Turns: how often the "
        "median error changes direction as ρ > 0 grows, by 1 % or more.",
        "",
        gap_table(_few(rows)).markdown(),
        "## Collapse",
        "",
        "Where M3 is predicted to be good to 10 %. Root mean square distance of the curves from "
        f"one another, in decades of the error: {spread['strength']:.3g} against ρ, "
        f"{spread['ratio']:.3g} against (ρ + ρ₀)/Δ, {spread['similarity']:.3g} against r, where "
        f"all entries count. The error covers {spread['decades']:.1f} decades. Largest difference "
        f"from the curve of two leaders: {spread['law']:.2g} of the error.",
        "",
        "## Where M3 and simulation part",
        "",
        "M3 claims to be within the difference of the first column for D up to that of the second. "
        "The last column is a control: of the points beyond the claim, with D from twice that "
        "bound to 1, the share that happens to be within the same difference. It has to be well "
        "below 100 %, or the bound would tell nothing. Differences are relative, medians over the "
        "seeds.",
        "",
        _reach_table(reach).markdown(),
        "## Lines",
        "",
        "Strengths at which the error first rises to a level, simulated over predicted, where D ≤ "
        f"{float(arrays['valid_defect']):.2g} (M3 good to 10 % of the error). These are ratios of "
        "strengths: below the onset the error hardly depends on ρ, and a few per cent of the error "
        "are a large factor of ρ. Hence the last column.",
        "",
        _line_table(arrays).markdown(),
    ]
    onset = np.nanmedian(arrays["onset"], axis=(0, 1, 2))
    lines += [
        "Onset ρ₀, median: "
        + ", ".join(
            f"{value:.2g} (init scale {scale:g})"
            for scale, value in zip(arrays["init_scale"], onset, strict=True)
        )
        + f". Error of an exact tie (M4): {float(arrays['tied_error']):.4f}.",
    ]
    return "\n".join(lines) + "\n"


def _few(rows: Sequence[GapRow]) -> list[GapRow]:
    """The smallest, the widest and three more gaps of each init scale."""
    gaps = sorted({row.relative_gap for row in rows})
    chosen = {gaps[i] for i in np.linspace(0, len(gaps) - 1, min(5, len(gaps))).round().astype(int)}
    return [row for row in rows if row.relative_gap in chosen]


def gap_table(rows: Sequence[GapRow]) -> Table:
    """Errors along each gap."""
    return Table(_GAP_COLUMNS, rows, records=[row._asdict() for row in rows])


def _gap_column(head: str, name: str, form: str) -> Column:
    return Column(
        head, lambda row: getattr(row, name), True, form=lambda value: format(value, form)
    )


_GAP_COLUMNS = (
    _gap_column("init scale", "init_scale", "g"),
    _gap_column("relative gap", "relative_gap", ".1e"),
    _gap_column("ρ = 0", "clean", ".2g"),
    _gap_column("weakest ρ > 0", "weakest", ".2g"),
    _gap_column("largest", "worst", ".2g"),
    _gap_column("at ρ", "worst_strength", ".1e"),
    _gap_column("ρ next to 1", "unit", ".2g"),
    _gap_column("strongest ρ", "strongest", ".2g"),
    _gap_column("turns", "turns", "d"),
)


def _reach_table(reach: Sequence[ReachRow]) -> Table:
    heads = ("difference", "D up to", "points", "of them within", "largest difference")
    columns = [Column(head, numeric=True) for head in (*heads, "within, beyond the claim")]
    rows = [
        [
            f"{row.level:.0%}",
            f"{row.defect:.2g}",
            str(row.points),
            f"{row.within:.1%}",
            f"{row.largest:.2g}",
            f"{row.outside:.1%}",
        ]
        for row in reach
    ]
    return Table(columns, rows)


def _line_table(arrays: Arrays) -> Table:
    heads = ("error", "r", "gaps and init scales", "median", "furthest from 1")
    columns = [Column(head, numeric=True) for head in (*heads, "the same, predicted ρ > ρ₀")]
    height = median(arrays["onset"])[0]
    rows = []
    for level, ratio in zip(arrays["levels"], arrays["level_ratio"], strict=True):
        simulated, predicted = boundary_strengths(arrays, float(level))
        off = simulated / predicted
        usable = np.isfinite(off)
        shown = [f"{level:.0e}", f"{ratio:.3g}", str(int(usable.sum()))]
        shown += [f"{np.median(off[usable]):.3f}" if usable.any() else "–"]
        rows.append([*shown, _furthest(off[usable]), _furthest(off[usable & (predicted > height)])])
    return Table(columns, rows)


def _furthest(ratios: np.ndarray) -> str:
    return f"{ratios[np.argmax(np.abs(np.log(ratios)))]:.3f}" if ratios.size else "–"
