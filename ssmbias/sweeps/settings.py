"""Static choices of a sweep as frozen, hashable dataclasses; strict about what they take.

Knows nothing of hydra: scripts/sweep.py turns a configuration tree into a plain mapping, and
`from_mapping` turns that into a checked job or into one line that says what is wrong.
"""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ssmbias.core.checks import require_choice, require_int, require_number
from ssmbias.runs.mapping import keys_of, unknown
from ssmbias.sweeps.grid import Grid, make_grid
from ssmbias.sweeps.room import estimate, require_room
from ssmbias.sweeps.values import parse_values

SOLVERS = ("auto", "limit", "theorem1", "flow")
LEAVES = "abc"
REPORTS = ("phase_diagram",)
"""Reports that a job may end with; each is a module of `ssmbias.paper`."""

_AXES = ("seed", "strength", "gap", "relative_gap", "init_scale")
_MOST_TIMES = 10_000
_LARGEST_BLOCK = 2**22


@dataclass(frozen=True)
class SweepSettings:
    """How the points of a grid are run, and what is kept of them.

    Attributes:
      solver: "limit" jumps to where the flow ends, "theorem1" follows it in time, "flow" is the
        general solver for any trained leaves; "auto" takes the fastest that does what is asked.
      trainable: leaves that are trained, any of "a", "b", "c"; all but "a" need the solver "flow".
      save_times: physical times at which states are kept, ascending; none keeps the end alone.
      rtol: tolerance of one step of the integrator.
      horizon: number of lags H over which the generalisation error is taken.
      block_size: largest number of points that are computed, stored and lost together; `None`
        is as many as the devices are given at a time.
      devices: how many of the process's devices share the points; `None` means all. Only the
        solver for limits runs on more than one.
    """

    solver: str = "auto"
    trainable: str = "a"
    save_times: tuple[float, ...] = ()
    rtol: float = 3e-11
    horizon: int = 20
    block_size: int | None = None
    devices: int | None = None

    def __post_init__(self) -> None:
        """Refuse contradictory or impossible choices."""
        require_choice("solver", self.solver, SOLVERS)
        object.__setattr__(self, "trainable", _trainable(self.trainable))
        object.__setattr__(self, "save_times", _save_times(self.save_times))
        object.__setattr__(self, "rtol", require_number("rtol", self.rtol))
        if not 1e-12 <= self.rtol <= 1e-4:
            raise ValueError(f"rtol={self.rtol!r}: must lie in [1e-12, 1e-4]; the default is 3e-11")
        require_int("horizon", self.horizon, minimum=2, maximum=100_000)
        if self.block_size is not None:
            require_int("block_size", self.block_size, minimum=1, maximum=_LARGEST_BLOCK)
        if self.devices is not None:
            require_int("devices", self.devices, minimum=1)
        if self.trainable != "a" and self.solver not in {"auto", "flow"}:
            raise ValueError(
                f"solver={self.solver!r} with trainable={self.trainable!r}: it trains a alone; "
                "use solver=flow or auto"
            )
        if self.save_times and self.solver == "limit":
            raise ValueError(
                "solver='limit' with save_times: it knows no times on the way; use solver=theorem1 "
                "or auto"
            )

    @property
    def leaves(self) -> tuple[str, ...]:
        """The trained leaves, such as ("a", "b")."""
        return tuple(self.trainable)

    @property
    def num_leaves(self) -> int:
        """How many leaves are stored: a always is."""
        return len({"a", *self.leaves})

    @property
    def uses_limit(self) -> bool:
        """Whether points are run by the engine for limits."""
        free = self.trainable == "a" and not self.save_times
        return self.solver == "limit" or (self.solver == "auto" and free)

    @property
    def uses_theorem1(self) -> bool:
        """Whether points are run by the engine for flows of Theorem 1 in time."""
        free = self.trainable == "a" and bool(self.save_times)
        return self.solver == "theorem1" or (self.solver == "auto" and free)

    def provenance(self) -> dict[str, Any]:
        """What determines the numbers; how the work is cut up and shared out does not."""
        shaping = {"block_size", "devices"}
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shaping}
        return {"precision": "float64", "settings": chosen}


@dataclass(frozen=True)
class SweepJob:
    """A sweep as the command line asks for it.

    Attributes:
      grid: the points.
      settings: how they are run.
      store: folder of the results; `None` leaves the choice to the program.
      report: one of `REPORTS`, written when the sweep is done, or `None`.
    """

    grid: Grid
    settings: SweepSettings = field(default_factory=SweepSettings)
    store: str | None = None
    report: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be stored or reported."""
        if self.store is not None and not (isinstance(self.store, str) and self.store.strip()):
            raise ValueError(f"store={self.store!r}: expected the path of a folder")
        if self.report is not None:
            require_choice("report", self.report, REPORTS)


DEFAULT_MAPPING: Mapping[str, Any] = {
    **dict.fromkeys(_AXES),
    "seq_len": 7,
    "state_dim": 10,
    **{f.name: f.default for f in fields(SweepSettings)},
    "save_times": [],
    "store": None,
    "report": None,
}
"""What `from_mapping` takes, with the defaults of scripts/sweep.py."""


def from_mapping(mapping: Mapping[str, Any]) -> SweepJob:
    """Build a job from plain values, and see to it that its results fit into memory.

    Args:
      mapping: the keys of `DEFAULT_MAPPING`, all of them. Axes are numbers, lists or texts, as in
        `ssmbias.sweeps.grid.make_grid`; `None` leaves an axis out.

    Returns:
      A checked job.

    Raises:
      ValueError: a key is unknown or missing, a value has the wrong type or is impossible, or the
        grid is empty or too large; the message names key, value and remedy.

    Example:
      >>> job = from_mapping({**DEFAULT_MAPPING, "strength": "logspace(-3, 3, 7)", "seed": [1, 2]})
      >>> job.grid.shape, job.settings.solver
      ((2, 7), 'auto')
    """
    values = keys_of(mapping, DEFAULT_MAPPING)
    axes = {name: values[name] for name in _AXES if values[name] is not None}
    if not axes:
        raise ValueError(
            f"nothing to do: give at least one of {', '.join(_AXES)}, such as "
            "strength='logspace(-9,3,60)' seed='range(64)'"
        )
    settings = settings_from({f.name: values[f.name] for f in fields(SweepSettings)})
    grid = make_grid(axes, values["seq_len"], values["state_dim"])
    job = SweepJob(grid, settings, values["store"], values["report"])
    require_room(estimate(grid, len(settings.save_times), settings.num_leaves), job.store)
    return job


def settings_from(mapping: Mapping[str, Any]) -> SweepSettings:
    """Build settings from some of their fields; the others keep their defaults.

    Args:
      mapping: names of fields of `SweepSettings` with values.

    Returns:
      Checked settings.

    Raises:
      ValueError: there is no such setting, or its value is impossible.

    Example:
      >>> settings_from({"horizon": 40}).horizon
      40
    """
    known = [f.name for f in fields(SweepSettings)]
    for key, value in mapping.items():
        if key in _AXES:
            raise ValueError(f"{key}={value!r}: is an axis; give it in the grid, {{{key!r}: ...}}")
        if key not in known:
            raise unknown(key, value, known, "setting")
    return SweepSettings(**mapping)


def _trainable(value: Any) -> str:
    """Leaves in the order a, b, c."""
    if (
        not isinstance(value, str)
        or not value
        or set(value) - set(LEAVES)
        or len(set(value)) < len(value)
    ):
        raise ValueError(f"trainable={value!r}: join some of a, b and c, such as a or abc")
    return "".join(sorted(value))


def _save_times(value: Any) -> tuple[float, ...]:
    """Checked times from a number, a text such as 'logspace(0, 9, 40)', or a sequence."""
    if isinstance(value, str):
        value = parse_values(value, "save_times")
    elif isinstance(value, numbers.Real):
        value = (value,)
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, Sequence):
        raise ValueError(f"save_times={value!r}: expected times, such as [1, 10, 100]")
    if len(value) > _MOST_TIMES:
        raise ValueError(f"save_times: {len(value)} times, and at most {_MOST_TIMES} are kept")
    times = tuple(require_number("save_times", time) for time in value)
    if any(time < 0 for time in times) or any(
        late <= early for early, late in itertools.pairwise(times)
    ):
        raise ValueError(
            f"save_times={_short(times)}: times are 0 or greater, and ascend; sort them, or write "
            "logspace(0,9,40)"
        )
    return times


def _short(times: Sequence[float]) -> str:
    return repr(list(times)) if len(times) <= 6 else repr([*times[:5], "..."])
