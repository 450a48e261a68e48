"""Tables and figures of the paper from units of work: reported, replayed, and our own beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ssmbias.core.checks import require_x64
from ssmbias.dynamics import Outcome
from ssmbias.paper.cells.jobs import Arrays, Job, ReplayJob, replay_job
from ssmbias.paper.cells.theorem1 import THEOREM1
from ssmbias.paper.cells.workers import Progress, run_jobs
from ssmbias.paper.protocol import NUM_PROGRESS
from ssmbias.paper.reported import FINAL_TOP, REPORTED, THEOREM1_SEEDS
from ssmbias.paper.reproduce_config import ReproduceConfig, Target
from ssmbias.paper.settings import ARMS, EXPERIMENTS
from ssmbias.report.pages.experiments import (
    DynamicsPanel,
    FindingPanel,
    OutcomeRow,
    OwnSummary,
    PairedErrors,
    PairRow,
    dynamics_figure,
    findings_figure,
)
from ssmbias.report.table import table_of, write_table
from ssmbias.runs.files import write_json
from ssmbias.runs.provenance import provenance
from ssmbias.statistics.paired import compare_arms, interval_of_mean
from ssmbias.subjects import SETTINGS

STOPPING, CONVERGENCE = "paper's stopping rule", "convergence"
# Resampling is reproducible; the seed has no other meaning.
_BOOTSTRAP_SEED = 0
# Entries of |a| in the table of a figure.
_NUM_TOP = 3

Units = dict[Job, Arrays]


def reproduce(
    config: ReproduceConfig,
    folder: Path,
    progress: Progress | None = None,
    set_up: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Compute what is missing, and write every table and figure asked for.

    Finished units are kept in `folder/units`; a run that was killed goes on from them when it is
    started again with the same folder, configuration and code.

    Args:
      config: targets, replays, sizes.
      folder: where everything goes.
      progress: called with (units done, units in all, what is under way).
      set_up: sets JAX's configuration in worker processes (`workers.run_jobs`); `None` computes
        one unit after another in this process.

    Returns:
      The content of `summary.json`: rows of all tables, replays with their verdicts, files.

    Raises:
      ValueError: a replay's file is unreadable, the folder holds units of another version, or
        double precision is off.
    """
    require_x64("reproduce")
    units = run_jobs(config.jobs(), folder / "units", config.num_workers, progress, set_up)
    files: list[Path] = []
    tables: dict[str, Any] = {}
    for target in config.targets:
        build = _table if target.kind == "table" else _figure
        rows, written = build(target, config, units, folder)
        tables[target.label] = [row._asdict() for row in rows]
        files += written
    summary = {
        "schema": "ssmbias.reproduce/1",
        **provenance(),
        "num_seeds": config.num_seeds,
        "reduced": config.reduced,
        "tables": tables,
        "replays": [
            json.loads(str(units[job]["summary"])) for job in units if isinstance(job, ReplayJob)
        ],
        "files": [path.name for path in files],
    }
    write_json(folder / "summary.json", summary)
    return summary


def _table(
    target: Target, config: ReproduceConfig, units: Units, folder: Path
) -> tuple[list[OutcomeRow], list[Path]]:
    """Outcomes of each experiment and arm, and the paired comparison of its arms."""
    rows, pairs, panels = [], [], []
    for name in target.experiments:
        arms = [units[config.cell(name, arm)] for arm in range(2)]
        for arm, label in enumerate(ARMS):
            rows += _outcome_rows(name, label, arms[arm], config, units)
        # Theorem 1's is a flow: it has one end only.
        stages = [STOPPING] * (name not in THEOREM1) + [CONVERGENCE] * (
            "converged_error" in arms[0]
        )
        by_stage = {stage: _paired(name, stage, *arms) for stage in stages}
        pairs += [row for row, _ in by_stage.values()]
        errors = {stage: pair for stage, (_, pair) in by_stage.items()}
        panels.append(FindingPanel(_title(name), errors.get(STOPPING), errors.get(CONVERGENCE)))
    caption = (
        f"Table {target.number} of the paper: reported, replayed from the original starts, and "
        f"our own protocol over {config.num_seeds} seeds (mean and 95 % interval)."
    ) + _warning(config)
    files = write_table(folder, target.label, table_of(rows, caption))
    paired = f"Poisoned against clean test errors of the same seeds, Table {target.number}."
    files += write_table(
        folder,
        f"{target.label}_pairs",
        table_of(pairs, paired + _warning(config)),
        label=f"tab:{target.label}-pairs",
    )
    files += findings_figure(panels, folder / f"{target.label}_errors")
    return [*rows, *pairs], files  # pyright: ignore[reportReturnType]


def _title(name: str) -> str:
    """An experiment in words."""
    if name in THEOREM1:
        setting = SETTINGS[name.removeprefix("theorem1_")]
        return f"Theorem 1, κ = {setting.seq_len}, d = {setting.state_dim} (a flow: one end only)"
    experiment = EXPERIMENTS[name]
    where = "SSM in a network" if experiment.width else "standalone SSM"
    return f"{where}, κ = {experiment.seq_len}, d = {experiment.state_dim}"


def _outcome_rows(
    name: str, arm: str, cell: Arrays, config: ReproduceConfig, units: Units
) -> list[OutcomeRow]:
    reported = REPORTED.get((name, arm))
    ended = cell["outcome"] == Outcome.CONVERGED
    kind = ("nospecial", "special")[ARMS.index(arm)]
    replays = [
        json.loads(str(units[replay_job(path)]["summary"]))
        for path in config.replays_of(name)
        if path.endswith(f"_{kind}.npz")
    ]
    # Replays that did not get there, or did something else than the original, are no evidence.
    replays = [r for r in replays if r["outcome"] == "converged" and r["verdict"] != "violated"]

    def row(quantity: str, key: str, told: float | None, usable: np.ndarray) -> OutcomeRow:
        replayed = (
            [replay[key] for replay in replays] if key in ("train_loss", "test_error") else []
        )
        if name in THEOREM1 and key == "test_error":
            # The paper's starts are among ours: the same generator, to the last bit.
            replayed = list(cell[key][np.isin(cell["seed"], THEOREM1_SEEDS[name])])
        return OutcomeRow(
            experiment=name,
            arm=arm,
            quantity=quantity,
            reported=told,
            replayed=float(np.mean(replayed)) if replayed else None,
            replayed_num=len(replayed),
            own=_own(cell[key], usable),
        )

    rows = [
        row("train loss", "train_loss", reported and reported.train_loss, ended),
        row("test error", "test_error", reported and reported.test_error, ended),
    ]
    if name in THEOREM1:
        return rows
    rows.append(row("steps to eps", "steps_to_eps", None, ended))
    if "converged_error" in cell:
        at_end = cell["converged_outcome"] == Outcome.CONVERGED
        rows += [
            row("train loss at convergence", "converged_loss", None, at_end),
            row("test error at convergence", "converged_error", None, at_end),
        ]
    return rows


def _own(values: np.ndarray, usable: np.ndarray) -> OwnSummary:
    """Mean and interval of the runs that ended as required; the others are counted."""
    interval = interval_of_mean(np.asarray(values, float)[usable], seed=_BOOTSTRAP_SEED)
    return OwnSummary(*interval, excluded=int(np.sum(~usable)))


def _paired(name: str, stage: str, clean: Arrays, poisoned: Arrays) -> tuple[PairRow, PairedErrors]:
    prefix = "converged_" if stage == CONVERGENCE else ""
    key, outcome = ("converged_error" if prefix else "test_error"), f"{prefix}outcome"
    usable = (clean[outcome] == Outcome.CONVERGED) & (poisoned[outcome] == Outcome.CONVERGED)
    comparison = compare_arms(clean[key], poisoned[key], usable, seed=_BOOTSTRAP_SEED)
    reported = None
    if stage == STOPPING or name in THEOREM1:
        told = [REPORTED.get((name, arm)) for arm in ARMS]
        if all(t is not None and t.test_error is not None for t in told):
            reported = (told[0].test_error, told[1].test_error)  # pyright: ignore
    return (
        PairRow(name, stage, **comparison.flat()),
        PairedErrors(clean[key], poisoned[key], usable, reported, comparison.verdict),  # pyright: ignore
    )


def _figure(
    target: Target, config: ReproduceConfig, units: Units, folder: Path
) -> tuple[list[OutcomeRow], list[Path]]:
    """The dynamics of an experiment's run, replayed, and of our own runs; their ends as a table."""
    panels, rows = [], []
    for name in target.experiments:
        experiment = EXPERIMENTS[name]
        seeds = experiment.original_seeds
        seed = seeds[min(target.run, len(seeds) - 1)]
        where = "network" if experiment.width else "standalone"
        for arm, label in enumerate(ARMS):
            cell = units[config.cell(name, arm)]
            path = config.replay_path(name, seed, arm)
            replay = None if path is None else units[replay_job(path)]
            title = f"{where}, κ = {experiment.seq_len}, {label}\n(original seed {seed})"
            panels.append(_panel(title, cell, replay))
            told = FINAL_TOP.get((name, label)) if target.run == 0 else None
            rows += _final_rows(name, label, cell, replay, told)
    files = dynamics_figure(panels, folder / target.label)
    caption = f"Largest entries at the last logging step of the runs of Figure {target.number}."
    files += write_table(folder, target.label, table_of(rows, caption + _warning(config)))
    return rows, files


def _panel(title: str, cell: Arrays, replay: Arrays | None) -> DynamicsPanel:
    fields: dict[str, Any] = {}
    if replay is not None:
        summary = json.loads(str(replay["summary"]))
        eps_step = int(summary["steps_to_eps"])
        # The second phase counts its updates anew.
        step = _cumulative(replay["step"], eps_step)
        fields = {
            "replay_step": step,
            "replay_a": replay["a"],
            "replay_rank": replay["rank"],
            "replay_gamma0": replay["gamma0"],
            "eps_step": eps_step,
        }
        if "original_a" in replay:
            fields |= {
                "original_step": _cumulative(replay["original_step"], int(replay["original_eps"])),
                "original_a": replay["original_a"],
                "original_gamma0": replay["original_gamma0"],
            }
    ended = cell["outcome"] == Outcome.CONVERGED
    if ended.any():
        grid = np.linspace(0.0, 1.0, NUM_PROGRESS)
        fields |= {
            "own_progress": np.concatenate([grid, 1.0 + grid]),
            "own_a": cell["path_a"][ended],
            "own_rank": cell["path_rank"][ended],
            "own_gamma0": cell["path_gamma0"][ended],
        }
    return DynamicsPanel(title=title, num_seeds=len(ended), **fields)


def _warning(config: ReproduceConfig) -> str:
    """For captions: that a run was a reduced one."""
    return f" REDUCED RUN, not comparable: {config.reduced}." if config.reduced else ""


def _cumulative(step: np.ndarray, eps_step: int) -> np.ndarray:
    """Updates since the start, where the second phase counts anew."""
    step = step.astype(np.int64)
    for restart in np.flatnonzero(np.diff(step) < 0) + 1:
        step[restart:] += eps_step
    return step


def _final_rows(
    name: str, arm: str, cell: Arrays, replay: Arrays | None, told: tuple[float, ...] | None
) -> list[OutcomeRow]:
    """The largest entries at the paper's stopping rule."""
    ended = cell["outcome"] == Outcome.CONVERGED
    own = np.sort(np.abs(cell["a"]), axis=1)[:, ::-1]
    number = max(_NUM_TOP, len(told or ()))
    return [
        OutcomeRow(
            experiment=name,
            arm=arm,
            quantity=f"|a_{j + 1}|",
            reported=told[j] if told is not None and j < len(told) else None,
            replayed=None if replay is None else float(replay["a"][-1, j]),
            replayed_num=int(replay is not None),
            own=_own(own[:, j], ended),
        )
        for j in range(number)
    ]
