"""Saved results of a run, read back with care."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssmbias.core.verdict import Verdict
from ssmbias.runs.files import ARRAYS_FILE, RESULTS_FILE, SCHEMA

VERDICTS = tuple(verdict.value for verdict in Verdict)

_ROW_KEYS = ("claim", "subject", "kind", "quantity", "tolerance", "verdict")
_NUMBER_KEYS = ("predicted", "measured", "residual", "tolerance", "margin")
_AGAIN = "run `make verify` again"


def load_results(run_dir: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a run folder, and refuse what no finished run has written.

    Nothing in the files is executed: JSON and plain numbers only, no pickles.

    Args:
      run_dir: folder that holds `results.json` and `arrays.npz`.

    Returns:
      The results as a mapping (see docs/results-schema.md), and the arrays by name, such as
      `"t7/error/clean/measured"`.

    Raises:
      ValueError: the folder or a file is missing, is cut off, or is not of this schema; the
        message names the file and the remedy.

    Example:
      >>> load_results("no/such/run")
      Traceback (most recent call last):
      ...
      ValueError: run_dir='no/such/run': no such folder; give the folder that `make verify` printed
    """
    folder = Path(run_dir)
    if not folder.is_dir():
        raise ValueError(
            f"run_dir={str(run_dir)!r}: no such folder; give the folder that `make verify` printed"
        )
    return _read_results(folder / RESULTS_FILE), _read_arrays(folder / ARRAYS_FILE)


def _read_results(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path}: missing, so this is no finished run; {_AGAIN}")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as err:
        raise ValueError(f"{path}: not readable as JSON ({err}); {_AGAIN}") from err
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise ValueError(
            f"{path}: schema is {schema!r}, this version reads {SCHEMA!r}; "
            "use the version of ssmbias that wrote it, or " + _AGAIN
        )
    claims, evidence = results.get("claims"), results.get("evidence")
    if not isinstance(claims, dict) or not all(isinstance(c, dict) for c in claims.values()):
        raise ValueError(f"{path}: `claims` must map ids to descriptions; {_AGAIN}")
    for key, kind, word in (
        ("config", dict, "mapping"),
        ("versions", dict, "mapping"),
        ("hardware", dict, "mapping"),
        ("subjects", dict | list, "mapping"),
        ("figures", list, "list"),
    ):
        if not isinstance(results.get(key, {} if kind is not list else []), kind):
            raise ValueError(f"{path}: `{key}` must be a {word}; {_AGAIN}")
    if not isinstance(evidence, list):
        raise ValueError(f"{path}: `evidence` must be a list; {_AGAIN}")
    for index, row in enumerate(evidence):
        missing = [k for k in _ROW_KEYS if not isinstance(row, dict) or k not in row]
        if missing:
            raise ValueError(f"{path}: evidence[{index}] lacks {', '.join(missing)}; {_AGAIN}")
        for key in _NUMBER_KEYS:
            if not isinstance(row.get(key), int | float | None):
                raise ValueError(
                    f"{path}: evidence[{index}] has {key}={row[key]!r}, not a number; {_AGAIN}"
                )
        if row["verdict"] not in VERDICTS:
            raise ValueError(
                f"{path}: evidence[{index}] has verdict {row['verdict']!r}, "
                f"not one of {', '.join(VERDICTS)}; {_AGAIN}"
            )
    return results


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ValueError(f"{path}: missing, so there is nothing to draw; {_AGAIN}")
    try:
        # Opened here, because np.load leaves a file open that it cannot read.
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as err:
        raise ValueError(
            f"{path}: not a readable archive of plain arrays ({err}); {_AGAIN}"
        ) from err


def count_verdicts(results: Mapping[str, Any]) -> dict[str, int]:
    """How many rows of the evidence have each verdict.

    Example:
      >>> count_verdicts({"evidence": [{"verdict": "holds"}]})
      {'holds': 1, 'violated': 0, 'inconclusive': 0}
    """
    verdicts = [row["verdict"] for row in results["evidence"]]
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS}


def worst_verdict(results: Mapping[str, Any]) -> str:
    """The worst verdict of any row: what a headline is coloured by.

    Example:
      >>> worst_verdict({"evidence": [{"verdict": "holds"}, {"verdict": "inconclusive"}]})
      'inconclusive'
    """
    counts = count_verdicts(results)
    return next((v for v in ("violated", "inconclusive") if counts[v]), "holds")


def fields_of_subjects(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fields of all subjects of a run, "name" and "about" (the name of the type) first.

    Example:
      >>> fields_of_subjects({"subjects": {"t7": {"about": "Theorem1", "seq_len": 7}}})
      [{'name': 't7', 'about': 'Theorem1', 'seq_len': 7}]
    """
    saved = results.get("subjects") or {}
    # Subjects of several types may share a name.
    pairs = saved.items() if isinstance(saved, Mapping) else [("", saved)]
    return [
        {"name": str(name), "about": "", **fields}
        for name, group in pairs
        for fields in (group if isinstance(group, list) else [group])
        if isinstance(fields, dict)
    ]
