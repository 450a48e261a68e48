"""All claims: one module each in `ssmbias.claims`, found by looking."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Sequence

from ssmbias import claims as catalogue
from ssmbias.evidence.evidence import Claim, Evidence, Verdict
from ssmbias.subjects.laboratory import Laboratory


@functools.cache
def all_claims() -> dict[str, Claim]:
    """Claims by id, in the order of their modules' names."""
    found: dict[str, Claim] = {}
    for info in sorted(pkgutil.iter_modules(catalogue.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{catalogue.__name__}.{info.name}")
        claims = getattr(module, "CLAIMS", None)
        if claims is None:
            raise ValueError(f"{module.__name__}: defines no CLAIMS; see docs/adding-a-claim.md")
        for claim in claims:
            if claim.id in found:
                raise ValueError(f"{module.__name__}: claim id {claim.id!r} is taken")
            found[claim.id] = claim
    return found


def select_claims(names: Sequence[str]) -> list[Claim]:
    """Claims by id or by the part of the id before a hyphen; "all" is every one.

    Args:
      names: such as ("M1-limit", "B1"), upper or lower case.

    Returns:
      The claims in catalogue order, each once.

    Raises:
      ValueError: a name matches nothing.

    Example:
      >>> [claim.id for claim in select_claims(["m4"])]
      ['M4']
    """
    claims = all_claims()
    wanted: set[str] = set()
    for name in names:
        key = name.lower()
        match = {
            id for id in claims if key in ("all", id.lower(), id.lower().split("-", maxsplit=1)[0])
        }
        if not match:
            raise ValueError(f"claims={name!r}: choose from all, {', '.join(claims)}")
        wanted |= match
    return [claim for id, claim in claims.items() if id in wanted]


def check_claim(claim: Claim, laboratory: Laboratory) -> list[Evidence]:
    """Check a claim, then check that the same procedure rejects its negative control.

    A check that accepts the control cannot fail, so its rows become inconclusive.
    """
    rows = claim.check(laboratory, False)
    controls = claim.check(laboratory, True)
    if [row.quantity for row in rows] != [row.quantity for row in controls]:
        raise AssertionError(f"{claim.id}: the control must yield the same rows as the check")
    return [_with_control(row, control) for row, control in zip(rows, controls, strict=True)]


def _with_control(row: Evidence, control: Evidence) -> Evidence:
    if row.verdict is Verdict.INCONCLUSIVE:
        return row
    rejected = control.verdict is Verdict.VIOLATED
    row = dataclasses.replace(row, control_rejected=rejected)
    if rejected or row.verdict is Verdict.VIOLATED:
        return row
    return dataclasses.replace(
        row,
        verdict=Verdict.INCONCLUSIVE,
        reason="the negative control was not rejected, so this check could not fail "
        f"(control: {control.verdict.value}; {control.reason or 'within tolerance'})",
    )
