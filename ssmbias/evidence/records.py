"""Evidence as it stands in `results.json`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ssmbias.config import VerifyConfig
from ssmbias.evidence.evidence import Assumption, Claim, Evidence, Kind, Runs, Verdict
from ssmbias.runs.files import SCHEMA
from ssmbias.runs.provenance import git_commit, hardware, versions
from ssmbias.statistics.fits import Fit


def evidence_to_json(row: Evidence) -> dict[str, Any]:
    """One row as it stands in `results.json`."""
    plain = dataclasses.asdict(row)
    runs = plain.pop("runs")
    return plain | {
        "num_runs": runs["number"],
        "num_unconverged": runs["unconverged"],
        "unconverged": runs["reason"],
    }


def evidence_from_json(row: Mapping[str, Any]) -> Evidence:
    """Rebuild evidence from `results.json`; null numbers become nan."""

    def number(key: str) -> float:
        return math.nan if row[key] is None else float(row[key])

    fit = row["fit"]
    return Evidence(
        claim=row["claim"],
        setting=row["setting"],
        kind=Kind(row["kind"]),
        quantity=row["quantity"],
        predicted=number("predicted"),
        measured=number("measured"),
        residual=number("residual"),
        tolerance=number("tolerance"),
        derivation=row["derivation"],
        verdict=Verdict(row["verdict"]),
        reason=row["reason"],
        assumptions=tuple(Assumption(**a) for a in row["assumptions"]),
        fit=None if fit is None else Fit(**fit),
        margin=row["margin"],
        runs=Runs(row["num_runs"], row["num_unconverged"], row["unconverged"]),
        control_rejected=row["control_rejected"],
    )


def results(
    config: VerifyConfig,
    claims: Sequence[Claim],
    evidence: Sequence[Evidence],
    started: str,
    seconds: float,
) -> dict[str, Any]:
    """The content of `results.json` (docs/results-schema.md)."""
    counts = {verdict.value: 0 for verdict in Verdict}
    for row in evidence:
        counts[row.verdict.value] += 1
    return {
        "schema": SCHEMA,
        "started": started,
        "seconds": seconds,
        "versions": versions(),
        "git_commit": git_commit(),
        "hardware": hardware(),
        "config": dataclasses.asdict(config),
        "claims": {
            claim.id: {
                "title": claim.title,
                "statement": claim.statement,
                "kind": claim.kind.value,
                "assumptions": list(claim.assumptions),
                "reference": claim.reference,
                "control": claim.control,
            }
            for claim in claims
        },
        "evidence": [evidence_to_json(row) for row in evidence],
        "summary": counts,
    }
