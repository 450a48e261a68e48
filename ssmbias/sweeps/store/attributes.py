"""Where the numbers of a store come from, and whether a run may add to it."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssmbias.runs.fingerprint import digest_of_parts, parts
from ssmbias.runs.provenance import versions
from ssmbias.sweeps.blocks import Schema
from ssmbias.sweeps.grid import Grid

SCHEMA = "ssmbias.sweep/2"
"""What a store calls its layout."""

CREATED, SOURCE, MARK = "created", "source_sha256", "fingerprint"


def attributes(
    grid: Grid,
    schema: Schema,
    provenance: Mapping[str, Any],
    block_size: int,
    sources: Sequence[str],
) -> dict[str, Any]:
    """Attributes of a store that is begun now: texts and numbers only.

    Args:
      grid: the grid.
      schema: the variables.
      provenance: what else determines the numbers, such as the precision and the solver's
        settings; mappings and sequences are kept as JSON.
      block_size: largest number of points in a block.
      sources: the modules that compute the numbers; none means the whole package.

    Raises:
      ValueError: `provenance` holds one of the names that are set here, or no plain values.
    """
    settings = {str(name): _as_attribute(name, value) for name, value in provenance.items()}
    configuration = {"grid": grid.fingerprint(), "variables": list(schema), "settings": settings}
    found = parts(configuration, *sources)
    ours: dict[str, Any] = {
        "schema": SCHEMA,
        "grid": grid.to_json(),
        "grid_sha256": grid.fingerprint(),
        "block_size": block_size,
        "variables": " ".join(schema),
        # xarray takes these for coordinates, although no dimension bears their name.
        "coordinates": "seed strength gap relative_gap init_scale",
        CREATED: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hardware": json.dumps(found["hardware"], sort_keys=True),
        SOURCE: found["source"],
        MARK: digest_of_parts(found),
    } | {f"{package.replace('-', '_')}_version": version for package, version in versions().items()}
    taken = ours.keys() & provenance.keys()
    if taken:
        raise ValueError(f"provenance: {', '.join(sorted(taken))} is set by the store; rename it")
    return ours | settings


def described(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that a Dataset shows; the others steer the readers of the store."""
    return {
        name: value for name, value in attrs.items() if name not in {"variables", "coordinates"}
    }


def _as_attribute(name: str, value: Any) -> str | int | float:
    value = _plain(name, value)
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return value if isinstance(value, str) or type(value) in {int, float} else json.dumps(value)


def _plain(name: str, value: Any) -> Any:
    """Values as JSON has them; numbers that are not finite become text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, np.generic):
        return _plain(name, value.item())
    if isinstance(value, Mapping):
        return {str(k): _plain(name, v) for k, v in value.items()}
    if isinstance(value, Sequence):
        return [_plain(name, v) for v in value]
    raise ValueError(f"provenance[{name!r}]={value!r}: pass text, numbers, lists or mappings")


def require_same(path: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse to add to a store what would not have been in it, had one run written all.

    Raises:
      ValueError: layout, grid, versions or settings differ; the message names what.
    """
    if there.get("schema") != here["schema"]:
        raise ValueError(
            f"store={path!r}: its layout is {there.get('schema')!r}, and this version writes "
            f"{here['schema']!r}; give another folder, or install the version that began it"
        )
    if there["grid_sha256"] != here["grid_sha256"]:
        raise ValueError(
            f"store={path!r}: holds another grid: {_grids_differ(there['grid'], here['grid'])}; "
            "give another folder, or the grid with which the store was begun"
        )
    # Which blocks there are is the store's to say; the fingerprint does not say what differs.
    for name in sorted((there.keys() | here.keys()) - {CREATED, "grid", "block_size", MARK}):
        if there.get(name) != here.get(name):
            what = _values_differ(name, there.get(name), here.get(name))
            raise ValueError(f"store={path!r}: {what}; give another folder, or {_remedy(name)}")
    if there.get(MARK) != here[MARK]:
        raise ValueError(f"store={path!r}: its {MARK} is that of another run; give another folder")


def _remedy(name: str) -> str:
    if name.endswith("_version"):
        return "install that version to go on"
    others = {SOURCE: "go back to the code that began it", "hardware": "go on where it was begun"}
    return others.get(name, "use the settings with which the store was begun")


def _values_differ(name: str, there: Any, here: Any) -> str:
    """Down to the entry where both are JSON objects."""
    if name == SOURCE:
        return f"the source of the modules that compute it has changed ({name})"
    try:
        old, new = json.loads(there), json.loads(here)
    except (TypeError, ValueError):
        old = new = None
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return f"{name}.{key} is {old.get(key)!r} there and {new.get(key)!r} here"
    return f"{name} is {there!r} there and {here!r} here"


def _grids_differ(there: str, here: str) -> str:
    old, new = Grid.from_json(there), Grid.from_json(here)
    for name in ("seq_len", "state_dim"):
        if getattr(old, name) != getattr(new, name):
            return f"{name} is {getattr(old, name)} there and {getattr(new, name)} here"
    if old.names != new.names:
        return f"its axes are {', '.join(old.names)}, and not {', '.join(new.names)}"
    for (name, a), (_, b) in zip(old.axes, new.axes, strict=True):
        if len(a) != len(b):
            return f"{name} has {len(a)} values there and {len(b)} here"
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            if x != y:
                return f"{name}[{i}] is {x!r} there and {y!r} here"
    return "the order of values"
