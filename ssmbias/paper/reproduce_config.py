"""What a reproduction consists of: tables, figures and replays, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmbias.core.checks import require_int
from ssmbias.paper.cells.jobs import CellJob, Job, replay_job
from ssmbias.paper.cells.theorem1 import THEOREM1
from ssmbias.paper.original import load_original
from ssmbias.paper.settings import ARMS, EXPERIMENTS, find_experiment
from ssmbias.runs.mapping import as_list, keys_of
from ssmbias.runs.mapping import from_mapping as build

REPLAY_DIR = Path(__file__).resolve().parents[2] / "tests" / "data" / "replays"
"""Where a checkout keeps the exported runs."""

TABLES, FIGURES = (1, 3), (2, 3, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class Target:
    """A table or figure of the paper.

    Attributes:
      kind: "table" or "figure".
      number: as in the paper.
      experiments: names of its experiments, one a block of rows or a pair of columns.
      run: which of an experiment's original seeds a figure shows, counted from 0.
    """

    kind: str
    number: int
    experiments: tuple[str, ...]
    run: int = 0

    def __post_init__(self) -> None:
        """Refuse what is not in the paper."""
        known = {"table": TABLES, "figure": FIGURES}
        if self.kind not in known:
            raise ValueError(f"kind={self.kind!r}: choose table or figure")
        if self.number not in known[self.kind]:
            raise ValueError(f"{self.kind}={self.number!r}: choose from {known[self.kind]}")
        for name in self.experiments:
            if name not in THEOREM1:
                find_experiment(name)

    @property
    def label(self) -> str:
        """Such as "table1": the stem of its files."""
        return f"{self.kind}{self.number}"


@dataclass(frozen=True)
class ReproduceConfig:
    """A reproduction.

    Attributes:
      targets: tables and figures.
      replays: paths of exported runs to be replayed and judged on their own.
      num_seeds: seeds of each cell of the library's protocol.
      converge: whether runs go on to convergence after the paper's stopping rule.
      most_extra_steps: bound on second phases, for reduced runs.
      replay_dir: folder of exported runs.
      most_replays: bound on the replays behind a target, for reduced runs.
      num_workers: units that are computed at the same time.
    """

    targets: tuple[Target, ...] = ()
    replays: tuple[str, ...] = ()
    num_seeds: int = 64
    converge: bool = True
    most_extra_steps: int | None = None
    replay_dir: str = str(REPLAY_DIR)
    most_replays: int | None = None
    num_workers: int = 2

    def __post_init__(self) -> None:
        """Refuse impossible jobs."""
        require_int("num_seeds", self.num_seeds, minimum=2, maximum=4096)
        require_int("num_workers", self.num_workers, minimum=1, maximum=64)
        if self.most_extra_steps is not None:
            require_int("most_extra_steps", self.most_extra_steps, minimum=1)
        if self.most_replays is not None:
            require_int("most_replays", self.most_replays, minimum=0)
        if not isinstance(self.converge, bool):
            raise ValueError(f"converge={self.converge!r}: must be true or false")
        if not self.targets and not self.replays:
            raise ValueError(
                "nothing to do: give table=1, table=3, figure=2 ... figure=8, replay=<name> or all"
            )
        for path in self.replays:
            if not Path(path).is_file():
                known = ", ".join(sorted(p.stem for p in Path(self.replay_dir).glob("*.npz"))[:4])
                raise ValueError(
                    f"replay={self.typed(path)}: no file {path}; give a path, or a name from "
                    f"replay_dir, such as {known or 'none: that folder holds no .npz file'}"
                )

        for path in self.replays:
            load_original(path)

    def typed(self, path: str) -> str:
        """A replay as it was asked for: by its name, or by its path."""
        inside = Path(path).parent == Path(self.replay_dir)
        return Path(path).stem if inside else path

    @property
    def reduced(self) -> str:
        """What makes this less than the paper's protocol, in words; empty for the whole."""
        parts = []
        if self.most_extra_steps is not None:
            parts.append(f"second phases of at most {self.most_extra_steps} steps")
        if not self.converge:
            parts.append("not followed to convergence")
        if self.most_replays is not None:
            parts.append(f"at most {self.most_replays} replays for each experiment")
        return "; ".join(parts)

    def replays_of(self, experiment: str) -> tuple[str, ...]:
        """Exported runs of an experiment, clean and poisoned of a seed beside each other."""
        if experiment not in EXPERIMENTS:
            return ()
        stem = f"{experiment}_d{EXPERIMENTS[experiment].state_dim}_seed"
        found = sorted(Path(self.replay_dir).glob(f"{stem}*.npz"))
        return tuple(str(path) for path in found[: self.most_replays])

    def replay_path(self, experiment: str, seed: int, arm: int) -> str | None:
        """The exported run of one seed and arm, if there is one."""
        kind = ("nospecial", "special")[arm]
        found = [p for p in self.replays_of(experiment) if p.endswith(f"_seed{seed}_{kind}.npz")]
        return found[0] if found else None

    def jobs(self) -> list[Job]:
        """All units of work, each once."""
        jobs: list[Job] = [replay_job(path) for path in self.replays]
        for target in self.targets:
            for name in target.experiments:
                jobs += [self.cell(name, arm) for arm in range(len(ARMS))]
                jobs += [replay_job(path) for path in self.replays_of(name)]
        return list(dict.fromkeys(jobs))

    def cell(self, experiment: str, arm: int) -> CellJob:
        """The unit of one experiment and arm."""
        return CellJob(experiment, arm, self.num_seeds, self.converge, self.most_extra_steps)


DEFAULT_MAPPING: Mapping[str, Any] = {
    "targets": {},
    "replay": None,
    "num_seeds": 64,
    "converge": True,
    "most_extra_steps": None,
    "replay_dir": None,
    "most_replays": None,
    "num_workers": 2,
}
"""What `from_mapping` takes, with the defaults of scripts/reproduce.py."""


def from_mapping(mapping: Mapping[str, Any]) -> ReproduceConfig:
    """Build a reproduction from plain values.

    Args:
      mapping: the keys of `DEFAULT_MAPPING`, all of them; `targets` maps labels to the
        attributes of a `Target`, `replay` is a name in `replay_dir`, a path, or a list of them.

    Returns:
      A checked configuration.

    Raises:
      ValueError: a key is unknown or missing, or a value has the wrong type or is impossible.

    Example:
      >>> target = {"kind": "table", "number": 1, "experiments": ["theorem1_t7"]}
      >>> from_mapping({**DEFAULT_MAPPING, "targets": {"table1": target}}).targets[0].label
      'table1'
    """
    shown = sorted({*DEFAULT_MAPPING, "table", "figure"} - {"targets"})
    values = keys_of(mapping, DEFAULT_MAPPING, shown=shown)
    asked, replays, folder = (values.pop(key) for key in ("targets", "replay", "replay_dir"))
    if folder and not Path(str(folder)).is_dir():
        raise ValueError(f"replay_dir={folder!r}: no such folder")
    folder = str(folder or REPLAY_DIR)
    names = [] if replays is None else as_list(replays)
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"replay={replays!r}: expected a name, a path ending in .npz, or a list")
    return ReproduceConfig(
        targets=tuple(build(Target, target) for target in (asked or {}).values()),
        replays=tuple(_replay_path(name, folder) for name in names),
        replay_dir=folder,
        **values,
    )


def _replay_path(name: str, folder: str) -> str:
    """A path as it is, a name as a file of the folder."""
    return name if name.endswith(".npz") else str(Path(folder) / f"{name}.npz")
