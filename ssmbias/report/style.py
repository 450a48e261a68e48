"""What all figures share: the style of print, colours, and small helpers.

Matplotlib is used through its objects and the Agg canvas; pyplot and its global state are left
alone. Colours are Okabe and Ito's, which colour-blind readers can tell apart: blues are clean,
reds are poisoned, everywhere.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ssmbias.runs.files import write_atomically

Arrays: TypeAlias = Mapping[str, np.ndarray]

DPI = 200
SINGLE, DOUBLE = 3.4, 7.0
"""Widths of one and of two columns, in inches."""

BLUE, SKY, RED, ORANGE = "#0072B2", "#56B4E9", "#D55E00", "#E69F00"
PURPLE = "#CC79A7"  # a third arm among poisoned ones
GREY, PALE = "#595959", "#B3B3B3"

# Any: how matplotlib annotates the keys differs between its versions.
_STYLE: Any = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.constrained_layout.use": True,
    # TrueType, not Type 3: what publishers ask for. Text stays text.
    "pdf.fonttype": 42,
}


@contextlib.contextmanager
def print_style() -> Iterator[None]:
    """Matplotlib's settings for these figures; those of the caller return afterwards.

    Wrap `figure.savefig(...)` in it to get tick labels and embedded fonts as `save_figure`
    does.

    Example:
      >>> before = dict(matplotlib.rcParams)
      >>> with print_style():
      ...     matplotlib.rcParams["pdf.fonttype"]
      42
      >>> dict(matplotlib.rcParams) == before
      True
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def subjects_of(arrays: Arrays) -> list[str]:
    """Names of the subjects that have arrays, in the order in which they were saved."""
    return list(dict.fromkeys(key.split("/", 1)[0] for key in arrays if "/" in key))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, on the Agg canvas."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path_stem: str | os.PathLike[str]) -> list[Path]:
    """Save a figure as PNG (200 dpi) and PDF (TrueType fonts embedded), each whole or not at all.

    No dates and versions stand in the files: the same figure gives the same bytes.

    Args:
      figure: of matplotlib.
      path_stem: folder, which exists, and name without suffix; dots in it are part of the name.

    Returns:
      `<stem>.png` and `<stem>.pdf`.
    """
    metadata: dict[str, dict[str, Any]] = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
    with print_style():
        return [
            write_atomically(
                Path(f"{os.fspath(path_stem)}.{suffix}"),
                lambda stream, suffix=suffix, without=without: figure.savefig(
                    stream, format=suffix, metadata=without
                ),
            )
            for suffix, without in metadata.items()
        ]


def absolute(symbol: str) -> str:
    """An absolute value, with bars that cannot be taken for letters."""
    return rf"$\mid\!{symbol}\!\mid$"


def literal(text: str) -> str:
    r"""A name as text of a figure, in which a dollar sign begins no formula.

    Example:
      >>> literal("costs $5")
      'costs \\$5'
    """
    return text.replace("$", r"\$")
