"""Evidence and claims as they stand in `results.json` (docs/results-schema.md)."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssmbias.core.verdict import Verdict
from ssmbias.evidence.claim import Claim
from ssmbias.evidence.evidence import CheckedPremise, Count, Evidence, Kind
from ssmbias.runs.files import plain
from ssmbias.statistics.fits import Fit

_LONGEST_LIST = 64
"""Arrays with more entries are described by their shape."""

_PACKAGE = Path(__file__).resolve().parents[1]


def evidence_to_json(row: Evidence) -> dict[str, Any]:
    """One row as it stands in `results.json`."""
    values = dataclasses.asdict(row)
    count = values.pop("count")
    return values | {
        "num_runs": count["number"],
        "num_unconverged": count["unconverged"],
        "unconverged": count["reason"],
    }


def evidence_from_json(row: Mapping[str, Any]) -> Evidence:
    """Rebuild evidence from `results.json`; null numbers become nan."""

    def number(key: str) -> float:
        return math.nan if row[key] is None else float(row[key])

    fit = row["fit"]
    return Evidence(
        claim=row["claim"],
        subject=row["subject"],
        about=row["about"],
        kind=Kind(row["kind"]),
        quantity=row["quantity"],
        predicted=number("predicted"),
        measured=number("measured"),
        residual=number("residual"),
        tolerance=number("tolerance"),
        derivation=row["derivation"],
        verdict=Verdict(row["verdict"]),
        reason=row["reason"],
        premises=tuple(CheckedPremise(**premise) for premise in row["premises"]),
        fit=None if fit is None else Fit(**fit),
        margin=row["margin"],
        count=Count(row["num_runs"], row["num_unconverged"], row["unconverged"]),
        control_rejected=row["control_rejected"],
    )


def claim_to_json(claim: Claim) -> dict[str, Any]:
    """What a report says about a claim; a file outside of the package is named with its digest."""
    types = claim.subject if isinstance(claim.subject, tuple) else (claim.subject,)
    return {
        "title": claim.title,
        "statement": claim.statement,
        "kind": claim.kind.value,
        "premises": list(claim.premises_in_words),
        "reference": claim.reference,
        "control": claim.control,
        "subject": " or ".join(kind.__name__ for kind in types),
        "family": claim.family,
        "bibtex": claim.bibtex,
        "source": source_of(claim),
    }


def source_of(claim: Claim) -> list[dict[str, str]]:
    """Files outside of the package in which a claim is written, with their SHA-256."""
    outside = [file for file in claim.sources if _PACKAGE not in file.parents]
    return [
        {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in outside
    ]


def subject_to_json(subject: Any) -> dict[str, Any]:
    """The fields of a subject, for a reader: what JSON does not know is described in words."""
    return {"about": type(subject).__name__, **_shown(subject)}


def _shown(value: Any) -> Any:  # noqa: PLR0911  (a table of types)
    if isinstance(value, type):
        return value.__qualname__
    if dataclasses.is_dataclass(value):
        return {f.name: _shown(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        array: Any = value
        listed = array.size <= _LONGEST_LIST and hasattr(array, "tolist")
        shape = "×".join(map(str, array.shape))
        return plain(array.tolist()) if listed else f"array {shape} of {array.dtype}"
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, bool | int | float | str | None):
        return plain(value)
    return getattr(value, "__qualname__", None) or str(value)


def counts(evidence: Sequence[Evidence]) -> dict[str, int]:
    """How many rows have each verdict."""
    found = {verdict.value: 0 for verdict in Verdict}
    for row in evidence:
        found[row.verdict.value] += 1
    return found
