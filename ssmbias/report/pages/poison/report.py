"""The report of a poison experiment: tables, figures and page from its saved results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ssmbias.report.page import Items, Picture, Pictures, Section, facts, page, write_page
from ssmbias.report.pages.poison.figures import draw_figures, mechanism
from ssmbias.report.pages.poison.rows import ArmRow, ControlRow, arm_rows, control_rows
from ssmbias.report.pages.poison.saved import WORDS, Compared, Judged, require_scan
from ssmbias.report.table import table_of, write_table

# The style's classes for good, bad and open; every heading says the same in words.
TONES = {"harm": "violated", "open": "inconclusive", "none": "plain"}


@dataclass(frozen=True)
class Said:
    """What was shown and what was not, in words; all text is plain.

    Attributes:
      headline: the verdict in a few words.
      tone: a key of `TONES`.
      verdicts: what was shown, whole sentences, the main one first.
      limits: what was not shown, whole sentences.
      notes: further remarks.
    """

    headline: str
    tone: str
    verdicts: Sequence[str]
    limits: Sequence[str]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse a page without a verdict, or without its limits."""
        if self.tone not in TONES:
            raise ValueError(f"tone={self.tone!r}: choose one of {', '.join(TONES)}")
        if not self.verdicts or not self.limits:
            raise ValueError("verdicts, limits: a report says both what was shown and what was not")


@dataclass(frozen=True)
class PoisonPage:
    """What stands on the page.

    Attributes:
      title: of the experiment.
      words: what was shown.
      controls: rows of the attacks against their controls.
      arms: rows of the arms.
      figures: saved ones.
      settings: how it was run.
      command: that repeats it, "" if unknown.
    """

    title: str
    words: Said
    controls: Sequence[ControlRow] = ()
    arms: Sequence[ArmRow] = ()
    figures: Sequence[Picture] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""

    def html(self) -> str:
        """The page."""
        words = self.words
        controls = table_of(self.controls, "Paired differences") if self.controls else None
        arms = table_of(self.arms, "Accuracies, mean ± standard deviation") if self.arms else None
        return page(
            "ssmbias poison",
            [
                Section("verdict", "Verdict", words.verdicts),
                Section("limits", "What this does not show", [Items(words.limits)]),
                Section("controls", "Against every control", [controls]),
                Section("notes", "Remarks", [Items(words.notes)]),
                Section("figures", "Figures", [Pictures(self.figures)]),
                Section("arms", "All arms", [arms]),
                Section("run", "This run", [facts("Settings", self.settings)]),
            ],
            headline=words.headline,
            kicker=f"ssmbias poison: {self.title}",
            tone=TONES[words.tone],
            command=self.command,
        )


def write_report(
    folder: str | os.PathLike[str],
    results: xr.Dataset,
    verdicts: Sequence[Judged],
    words: Said,
    to_dup: Mapping[str, Compared],
    *,
    scan: xr.Dataset | None = None,
    examples: Mapping[str, np.ndarray] | None = None,
    command: str = "",
) -> list[Path]:
    """Write tables, figures and `report.html`.

    Args:
      folder: made if it is not there. Files: table (arms) and controls (paired differences) as
        .md, .tex and .csv, figures/*.png and .pdf, report.html.
      results: as saved: dims arm and seed; test_accuracy, outcome, and where present
        long_accuracy, train_accuracy, in_distribution_accuracy, input_share (arm, seed,
        position), teacher_cosine. Attributes: chance; title, experiment and further ones, which
        are listed; num_last, how many last elements the share is reported of (2); `arms`, the
        words of the arms as JSON.
      verdicts: one for each attack, the main one first.
      words: the same in words.
      to_dup: paired differences to dup by arm.
      scan: test_accuracy over window (first element) and seed; outcome, and the attribute width,
        where known.
      examples: sequences or images by name; see `examples_figure`.
      command: the command line that repeats the run.

    Returns:
      All files.

    Raises:
      ValueError: a scan or examples of another form.
    """
    if scan is not None:
        require_scan(scan)
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    arms = arm_rows(results, to_dup)
    controls = [row for verdict in verdicts for row in control_rows(results, verdict)]
    title = str(results.attrs.get("title") or results.attrs.get("experiment") or "poison")
    about_arms = (
        f"{title}: accuracies over {results.sizes['seed']} seeds, mean ± standard deviation, and "
        "paired differences to dup in points with 95 % interval (p not corrected)."
    )
    about_controls = (
        f"{title}: {verdicts[0].sentence} Paired differences over seeds, p values two-sided, "
        "Holm's correction for the number of controls."
    )
    files = write_table(folder, "table", table_of(arms, about_arms), label="tab:poison-arms")
    files += write_table(
        folder, "controls", table_of(controls, about_controls), label="tab:poison-controls"
    )
    figures = draw_figures(folder / "figures", results, verdicts, scan, examples)
    files += [one.png.with_suffix(suffix) for one in figures for suffix in (".png", ".pdf")]
    attributes = {str(key): _plain(value) for key, value in results.attrs.items() if key != WORDS}
    content = PoisonPage(
        title=title,
        words=Said(
            words.headline,
            words.tone,
            words.verdicts,
            words.limits,
            [*mechanism(results), *words.notes],
        ),
        controls=controls,
        arms=arms,
        figures=figures,
        settings={"seeds": _seeds(results), **attributes},
        command=command,
    )
    return [*files, write_page(folder, content.html())]


def _seeds(results: xr.Dataset) -> str:
    seeds = [int(seed) for seed in results["seed"].values]
    if seeds == list(range(seeds[0], seeds[0] + len(seeds))) and len(seeds) > 2:
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _plain(value: Any) -> Any:
    """An attribute as Python's own types."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
