"""The figures that claims bring with them, drawn from the arrays that they saved."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssmbias.evidence import Figure
from ssmbias.runs.files import write_atomically

_DPI = 150
_LONGEST_STEM = 100


class Drawing(NamedTuple):
    """A figure of a claim about a subject, not drawn yet.

    Attributes:
      claim: id of the claim.
      subject: name of the subject.
      figure: how to draw it.
      arrays: what the check has saved, by name.
    """

    claim: str
    subject: str
    figure: Figure
    arrays: Mapping[str, np.ndarray]


def draw_all(drawings: Sequence[Drawing], folder: Path) -> list[dict[str, Any]]:
    """Draw figures into `folder/figures`.

    A figure that cannot be drawn costs no evidence: its entry says why instead.

    Args:
      drawings: the figures.
      folder: of the run.

    Returns:
      An entry for each under "figures" of `results.json`: claim, subject, name, caption, and
      `file`, relative to the folder, or `error`.
    """
    found: list[dict[str, Any]] = []
    stems: list[str] = []
    for claim, subject, figure, arrays in drawings:
        stem = re.sub(r"[^\w.=-]+", "_", f"{claim}-{subject}-{figure.name}")[:_LONGEST_STEM]
        # Names that differ in other characters alone must not share a file.
        taken = stems.count(stem)
        stems.append(stem)
        stem = f"{stem}_{taken + 1}" if taken else stem
        entry = {
            "claim": claim,
            "subject": subject,
            "name": figure.name,
            "caption": figure.caption,
        }
        try:
            entry["file"] = _draw(figure, arrays, folder, f"figures/{stem}.png")
        except Exception as error:
            entry["error"] = f"{type(error).__name__}: {error}"
        found.append(entry)
    return found


def _draw(figure: Figure, arrays: Mapping[str, np.ndarray], folder: Path, name: str) -> str:
    # Imported when asked for: most runs draw nothing of their own.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415

    drawing = figure.draw(arrays)
    FigureCanvasAgg(drawing)  # no window, whatever made the figure
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    write_atomically(
        folder / name,
        lambda stream: drawing.savefig(stream, format="png", dpi=_DPI, bbox_inches="tight"),
    )
    return name
