"""What each program leaves in the folder of a job: how it is read, and what it says in short."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssmbias.runs.files import read_json
from ssmbias.runs.multirun import Job, value_of

if TYPE_CHECKING:
    import xarray as xr

Row = dict[str, Any]


class Saved(NamedTuple):
    """How the results of a job are read.

    Attributes:
      read: the rows of a job, or the Dataset of a sweep; `OSError`, `ValueError`, `KeyError` or
        `TypeError` where they are missing or broken.
      outcome: numbers and words on the whole job from what was read; the verdict under "verdict".
    """

    read: Callable[[Job], Any]
    outcome: Callable[[Job, Any], Mapping[str, Any]]


def _folder(job: Job) -> Path:
    if job.folder is None:
        raise ValueError("there is no folder")
    return job.folder


def _json(folder: Path, name: str, schema: str) -> dict[str, Any]:
    """A file of results, of the layout that this version writes."""
    path = folder / name
    found = read_json(path)
    if not str(found.get("schema")).startswith(schema):
        raise ValueError(f"{path} has the layout {found.get('schema')!r}, not {schema}...")
    return found


def _flat(mapping: Mapping[str, Any], begin: str = "") -> Row:
    """Nested mappings as one; pairs of numbers as their ends.

    Example:
      >>> _flat({"box": {"a2": [1, 2]}, "name": "k7"})
      {'box_a2_low': 1, 'box_a2_high': 2, 'name': 'k7'}
    """
    row: Row = {}
    for key, value in mapping.items():
        name = f"{begin}{key}"
        if isinstance(value, Mapping):
            row |= _flat(value, f"{name}_")
        elif isinstance(value, list) and len(value) == 2 and begin:
            row |= {f"{name}_low": value[0], f"{name}_high": value[1]}
        else:
            row[name] = value
    return row


def _evidence(job: Job) -> list[Row]:
    from ssmbias.report.pages.verification import evidence_records  # noqa: PLC0415

    return evidence_records(_json(_folder(job), "results.json", "ssmbias.verify/")["evidence"])


def _certificates(job: Job) -> list[Row]:
    results = _json(_folder(job), "results.json", "ssmbias.certify/")
    return [_flat(record) for record in results["records"]]


def _of_paper(job: Job) -> list[Row]:
    """Rows of all tables and figures, then replays."""
    summary = _json(_folder(job), "summary.json", "ssmbias.reproduce/")
    rows = [{"table": name, **_flat(row)} for name, t in summary["tables"].items() for row in t]
    return rows + [{"table": "replay", **_flat(replay)} for replay in summary["replays"]]


def _arms(job: Job) -> list[Row]:
    with (_folder(job) / "table.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    return [{name: value_of(cell) if cell else None for name, cell in row.items()} for row in table]


def _sweep(job: Job) -> xr.Dataset:
    from ssmbias.sweeps.store import UnfinishedSweepWarning, open_sweep  # noqa: PLC0415

    store = job.overrides.get("store")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnfinishedSweepWarning)  # the attributes say so
        own = isinstance(store, str)
        return open_sweep(job.typed_in / store if own else _folder(job) / "sweep.zarr")


def _verdicts(rows: Iterable[Row]) -> dict[str, Any]:
    """How many hold, and the worst of them."""
    counts = Counter(str(row["verdict"]) for row in rows if row.get("verdict"))
    worst = next((v for v in ("violated", "inconclusive", "holds") if counts[v]), "inconclusive")
    return {**{v: counts[v] for v in ("holds", "violated", "inconclusive")}, "verdict": worst}


def _of_evidence(job: Job, rows: list[Row]) -> dict[str, Any]:
    return _verdicts(rows)


def _of_certificates(job: Job, rows: list[Row]) -> dict[str, Any]:
    """Boxes by status, and the worst verdict of all."""
    counts = Counter(str(row["status"]) for row in rows)
    statuses = ("certified", "not certified", "contradicted")
    return {
        **{status: counts[status] for status in statuses},
        "verdict": _verdicts(rows)["verdict"],
    }


def _of_reproduction(job: Job, rows: list[Row]) -> dict[str, Any]:
    """Tables that were made, and the verdicts of replays."""
    replays = [row for row in rows if row["table"] == "replay"]
    tables = dict.fromkeys(str(row["table"]) for row in rows if row["table"] != "replay")
    return {"tables": " ".join(tables) or None, **(_verdicts(replays) if replays else {})}


def _of_arms(job: Job, rows: list[Row]) -> dict[str, Any]:
    """What was shown of each attack."""
    import xarray as xr  # noqa: PLC0415

    from ssmbias.poison.summary import judge_all  # noqa: PLC0415

    with xr.open_dataset(_folder(job) / "results.nc") as results:
        return {judged.attack: judged.label for judged in judge_all(results)}


def _of_sweep(job: Job, data: xr.Dataset) -> dict[str, Any]:
    """Points, how many of them converged, and medians over all that did."""
    from ssmbias.sweeps import summarise  # noqa: PLC0415

    counts = summarise(data)
    total = sum(counts.values())
    converged = data["outcome"] == 0
    medians = {
        f"median {name}": float(data[name].where(converged).median()) for name in ("error", "loss")
    }
    return {"points": total, "converged": counts.get("converged", 0), **medians}


PROGRAMS = {
    "verify": Saved(_evidence, _of_evidence),
    "sweep": Saved(_sweep, _of_sweep),
    "reproduce": Saved(_of_paper, _of_reproduction),
    "poison": Saved(_arms, _of_arms),
    "certify": Saved(_certificates, _of_certificates),
}
