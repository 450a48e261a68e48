"""The page of a phase diagram's report, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ssmbias.experiments.phase_numbers import GapRow, ReachRow, boundary_strengths
from ssmbias.report.style import Arrays

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
        "D of 1, M2 beyond) and the simulated one.",
    ),
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
        f"{int(arrays['horizon'])} lags; medians over the seeds. Predictions are theory only "
        "(docs/theory.md, M1 to M4).",
        "",
    ]
    for name, caption in _FIGURES:
        lines += [f"![{caption}]({name}.png)", "", f"*{caption}*", ""]
    lines += [
        "## Errors along the strength",
        "",
        "Turns: how often the median error changes direction as ρ grows, by 1 % or more.",
        "",
        "| init scale | gap / scale | ρ = 0 | weakest ρ | largest | at ρ | ρ = 1 | strongest ρ "
        "| turns |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *map(_gap_line, _few(rows)),
        "",
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
        "| predicted | for D up to | medians | within | largest difference | also within, for D "
        "from twice that to 1 |",
        "|---:|---:|---:|---:|---:|---:|",
        *map(_reach_line, reach),
        "",
        "## Lines",
        "",
        "Strengths at which the error first reaches a level, within the range of the passage map: "
        "simulated over predicted.",
        "",
        "| error | r | gaps and init scales | median | furthest from 1 |",
        "|---:|---:|---:|---:|---:|",
    ]
    for level, ratio in zip(arrays["levels"], arrays["level_ratio"], strict=True):
        simulated, predicted = boundary_strengths(arrays, float(level))
        off = (simulated / predicted)[np.isfinite(predicted)]
        shown = [f"{level:.0e}", f"{ratio:.3g}", str(off.size)]
        if off.size:
            furthest = off[np.argmax(np.abs(np.log(off)))]
            shown += [f"{np.median(off):.3f}", f"{furthest:.3f}"]
        lines.append(_line(shown + ["–"] * (5 - len(shown))))
    onset = np.nanmedian(arrays["onset"], axis=(0, 1, 2))
    lines += [
        "",
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


def _gap_line(row: GapRow) -> str:
    cells = [f"{row.init_scale:g}", f"{row.relative_gap:.1e}", f"{row.clean:.2g}"]
    cells += [f"{row.weakest:.2g}", f"{row.worst:.2g}", f"{row.worst_strength:.1e}"]
    return _line([*cells, f"{row.unit:.2g}", f"{row.strongest:.2g}", str(row.turns)])


def _reach_line(row: ReachRow) -> str:
    cells = [f"{row.level:.0%}", f"{row.defect:.2g}", str(row.points), f"{row.within:.1%}"]
    return _line([*cells, f"{row.largest:.2g}", f"{row.outside:.1%}"])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
