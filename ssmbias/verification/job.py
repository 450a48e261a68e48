"""The main job from plain values, as a command line or a configuration file gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssmbias.core.checks import require_int, require_number
from ssmbias.runs.mapping import as_list, keys_of
from ssmbias.subjects import DEFAULT_STRENGTHS, SETTINGS
from ssmbias.verification.pairing import DEFAULT_MAX_COST, OVERRIDES, Verification, plan

DEFAULT_MAPPING: Mapping[str, Any] = {
    "setting": list(SETTINGS),
    "claims": "all",
    "max_cost": DEFAULT_MAX_COST,
    "num_seeds": 16,
    "strength": list(DEFAULT_STRENGTHS),
    "rtol": 1e-10,
    "precision": "float64",
    **dict.fromkeys(OVERRIDES),
}
"""What `from_mapping` takes, with the defaults of `make verify`."""


def from_mapping(mapping: Mapping[str, Any]) -> Verification:
    """Build the main job from plain values.

    Args:
      mapping: keys `setting` (name or list of names), `claims` (id, family, file or list of
        them), `max_cost` (seconds, or `None`), `num_seeds`, `strength` (number or list), `rtol`,
        `precision` ("float64"), and the overrides `seq_len`, `state_dim`, `init_scale`, `gap`,
        `first_seed`, `horizon` of every setting (`None` keeps the setting's own value). All keys
        must be present.

    Returns:
      A checked job.

    Raises:
      ValueError: a key is unknown or missing, or a value has the wrong type or is impossible;
        the message names key, value and remedy.

    Example:
      >>> plain = dict(DEFAULT_MAPPING, setting="t7", strength=[0, 1], claims="M4")
      >>> [(claim.id, subject.strengths) for claim, subject in from_mapping(plain).pairs]
      [('M4', (0.0, 1.0))]
    """
    values = keys_of(mapping, DEFAULT_MAPPING, shown=sorted(DEFAULT_MAPPING))
    if values["precision"] != "float64":
        raise ValueError(
            f"precision={values['precision']!r}: claims are verified in float64 only; "
            "leave precision=float64"
        )
    settings = as_list(values["setting"])
    if not settings:
        raise ValueError(f"setting=[]: name one or more of {', '.join(SETTINGS)}")
    for name in settings:
        if not isinstance(name, str) or name not in SETTINGS:
            raise ValueError(
                f"setting={name!r}: choose from {', '.join(SETTINGS)}, or a list of them"
            )
    if len(set(settings)) != len(settings):
        raise ValueError(f"setting={settings}: names a setting twice; leave one out")
    for claim in as_list(values["claims"]):
        if not isinstance(claim, str):
            raise ValueError(f"claims={claim!r}: expected ids such as M1-limit, or all")
    strengths = tuple(require_number("strength", s) for s in as_list(values["strength"]))
    if not strengths:
        raise ValueError("strength=[]: give at least one poison strength, such as strength=1")
    num_seeds = require_int("num_seeds", values["num_seeds"], minimum=1)
    changes = {
        "num_seeds": num_seeds if num_seeds != DEFAULT_MAPPING["num_seeds"] else None,
        "strengths": strengths if strengths != DEFAULT_STRENGTHS else None,
        **{key: values[key] for key in OVERRIDES},
    }
    max_cost = values["max_cost"]
    return plan(
        values["claims"],
        settings=None if settings == list(SETTINGS) else settings,
        changes=changes,
        rtol=require_number("rtol", values["rtol"]),
        max_cost=None if max_cost is None else require_number("max_cost", max_cost),
    )
