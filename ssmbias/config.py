"""Static choices of the main job as frozen, hashable dataclasses; strict about what they take.

Knows nothing of hydra: scripts turn a configuration tree into a plain mapping, and
`from_mapping` turns that into a checked object or into one line that says what is wrong.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssmbias.core.checks import require_int, require_number, require_seq_len

DEFAULT_STRENGTHS = (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 10**1.5, 1e2, 10**2.5, 1e3)
"""ρ in decades, with half decades where the law in 1/ρ is fitted."""


@dataclass(frozen=True)
class Setting:
    """A setting of Theorem 1.

    Attributes:
      name: label in tables.
      seq_len: sequence length κ, odd and at least 5.
      state_dim: the student's dimension d.
      init_scale: starts are uniform on (0, init_scale).
      gap: difference of the two largest entries of a start.
      first_seed: seeds are first_seed, first_seed + 1, ...
      horizon: number of lags H over which the generalisation error is taken.
    """

    name: str
    seq_len: int
    state_dim: int
    init_scale: float
    gap: float
    first_seed: int = 0
    horizon: int = 20

    def __post_init__(self) -> None:
        """Refuse what Theorem 1 does not speak of."""
        require_seq_len(self.seq_len, minimum=5, odd=True)
        require_int("state_dim", self.state_dim, minimum=2)
        require_int("first_seed", self.first_seed, minimum=0)
        require_int("horizon", self.horizon, minimum=2)
        object.__setattr__(self, "init_scale", require_number("init_scale", self.init_scale))
        object.__setattr__(self, "gap", require_number("gap", self.gap))
        if not 0 < self.init_scale < 1:
            raise ValueError(
                f"init_scale={self.init_scale!r}: must lie in (0, 1); the paper uses 1e-3 and 5e-3"
            )
        if not 0 <= self.gap < self.init_scale:
            raise ValueError(
                f"gap={self.gap!r}: must be 0 or greater and smaller than init_scale="
                f"{self.init_scale!r}, the scale of the entries that it separates"
            )


SETTINGS = {
    "t7": Setting("t7", 7, 10, 1e-3, 0.05 * math.exp(-15.0), first_seed=242),
    "t9": Setting("t9", 9, 20, 5e-3, 0.05 * math.exp(-10.0 * math.log10(200.0)), first_seed=342),
}
"""The two settings of the paper's Tables 1 and 3; the first seed is the paper's."""

# Every claim keeps all of its trajectories: about 3 MB a seed at ten strengths.
_MOST_SEEDS = 4096

_OVERRIDES = ("seq_len", "state_dim", "init_scale", "gap", "first_seed", "horizon")


@dataclass(frozen=True)
class VerifyConfig:
    """The main job.

    Attributes:
      settings: settings of Theorem 1.
      claims: ids or prefixes of ids of the claims to check; ("all",) for every one.
      num_seeds: starts for each setting.
      strengths: poison strengths ρ that the claims about ρ look at.
      rtol: tolerance of one step of the Theorem 1 integrator.
    """

    settings: tuple[Setting, ...] = tuple(SETTINGS.values())
    claims: tuple[str, ...] = ("all",)
    num_seeds: int = 16
    strengths: tuple[float, ...] = DEFAULT_STRENGTHS
    rtol: float = 1e-10

    def __post_init__(self) -> None:
        """Refuse impossible jobs."""
        if not self.settings:
            raise ValueError(f"setting=[]: name one or more of {', '.join(SETTINGS)}")
        names = [setting.name for setting in self.settings]
        if len(set(names)) != len(names) or not all(names):
            raise ValueError(f"setting={names}: give each setting a name of its own")
        if not self.claims:
            raise ValueError("claims=[]: name claims, or write claims=all")
        for claim in self.claims:
            if not isinstance(claim, str):
                raise ValueError(f"claims={claim!r}: expected ids such as M1-limit, or all")
        require_int("num_seeds", self.num_seeds, minimum=1, maximum=_MOST_SEEDS)
        if not self.strengths:
            raise ValueError("strength=[]: give at least one poison strength, such as strength=1")
        for strength in self.strengths:
            require_number("strength", strength)
            if not strength >= 0 or math.isinf(strength):
                raise ValueError(
                    f"strength={strength!r}: a poison strength is a finite number >= 0 "
                    "(0 is the clean set)"
                )
        if not 1e-13 <= require_number("rtol", self.rtol) <= 1e-6:
            raise ValueError(f"rtol={self.rtol!r}: must lie in [1e-13, 1e-6]; the default is 1e-10")


def from_mapping(mapping: Mapping[str, Any]) -> VerifyConfig:
    """Build the main job's configuration from plain values.

    Args:
      mapping: keys `setting` (name or list of names), `claims` (id or list), `num_seeds`,
        `strength` (number or list), `rtol`, `precision` ("float64"), and the overrides
        `seq_len`, `state_dim`, `init_scale`, `gap`, `first_seed`, `horizon` of every setting
        (`None` keeps the setting's own value). All keys must be present.

    Returns:
      A checked configuration.

    Raises:
      ValueError: a key is unknown or missing, or a value has the wrong type or is impossible;
        the message names key, value and remedy.

    Example:
      >>> import ssmbias.config as config
      >>> plain = dict(config.DEFAULT_MAPPING, setting="t7", strength=[0, 1])
      >>> config.from_mapping(plain).strengths
      (0.0, 1.0)
    """
    known = set(DEFAULT_MAPPING)
    for key in mapping:
        if key not in known:
            raise ValueError(
                f"{key}={mapping[key]!r}: unknown key; known are {', '.join(sorted(known))}"
            )
    for key in sorted(known):
        if key not in mapping:
            raise ValueError(f"{key}: missing; the default is {key}={DEFAULT_MAPPING[key]!r}")
    if mapping["precision"] != "float64":
        raise ValueError(
            f"precision={mapping['precision']!r}: claims are verified in float64 only; "
            "leave precision=float64"
        )
    changes = {key: mapping[key] for key in _OVERRIDES if mapping[key] is not None}
    settings = []
    for name in _as_list(mapping["setting"]):
        if not isinstance(name, str) or name not in SETTINGS:
            raise ValueError(
                f"setting={name!r}: choose from {', '.join(SETTINGS)}, or a list of them"
            )
        settings.append(_changed(SETTINGS[name], changes))
    claims = _as_list(mapping["claims"])
    return VerifyConfig(
        settings=tuple(settings),
        claims=tuple(claims),
        num_seeds=require_int("num_seeds", mapping["num_seeds"], minimum=1),
        strengths=tuple(require_number("strength", s) for s in _as_list(mapping["strength"])),
        rtol=require_number("rtol", mapping["rtol"]),
    )


DEFAULT_MAPPING: Mapping[str, Any] = {
    "setting": list(SETTINGS),
    "claims": "all",
    "num_seeds": 16,
    "strength": list(DEFAULT_STRENGTHS),
    "rtol": 1e-10,
    "precision": "float64",
    **dict.fromkeys(_OVERRIDES),
}
"""What `from_mapping` takes, with the defaults of `make verify`."""


def _changed(setting: Setting, changes: Mapping[str, Any]) -> Setting:
    """A setting with other numbers, named so that tables show what was changed."""
    if not changes:
        return setting
    label = ", ".join(f"{key}={value}" for key, value in changes.items())
    return dataclasses.replace(setting, name=f"{setting.name}({label})", **changes)


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return [value]
