"""Which claim is checked on which subject."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmbias.core.checks import require_number
from ssmbias.evidence import Claim, require_subject
from ssmbias.evidence.registry import (
    Offer,
    by_id,
    claims_of_file,
    claims_of_installed_packages,
    claims_of_package,
    select,
)
from ssmbias.runs.mapping import as_list
from ssmbias.subjects import SETTINGS, Passage, Theorem1, family, passages
from ssmbias.subjects.theorem1 import starts

OVERRIDES = ("seq_len", "state_dim", "init_scale", "gap", "first_seed", "horizon")
"""Numbers of a setting whose change shows in its name."""

DEFAULT_MAX_COST = 60.0
"""Seconds above which the main job takes a claim only if it is named, or asked for all of them."""


@dataclass(frozen=True)
class Verification:
    """What is to be checked on what.

    Attributes:
      pairs: claims with subjects, subject by subject.
      rtol: tolerance of one step of an integrator.
      words: the command line that asks for the same, or `None` if there is none.
    """

    pairs: tuple[tuple[Claim, Any], ...]
    rtol: float = 1e-10
    words: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what has nothing to check, or cannot be told apart."""
        if not 1e-13 <= require_number("rtol", self.rtol) <= 1e-6:
            raise ValueError(f"rtol={self.rtol!r}: must lie in [1e-13, 1e-6]; the default is 1e-10")
        seen: dict[tuple[str, str], Any] = {}
        for subject in self.subjects:
            key = (type(subject).__name__, require_subject(subject).name)
            if key in seen:
                raise ValueError(
                    f"subjects: two of type {key[0]} are named {key[1]!r}; give each a name of "
                    "its own"
                )
            seen[key] = subject
        if not self.pairs:
            raise ValueError(
                "claims: nothing is left to check; name a claim by its id, give a subject that "
                "some claim speaks of, or raise max_cost"
            )
        by_id(self.claims)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims, each once."""
        return tuple({id(claim): claim for claim, _ in self.pairs}.values())

    @property
    def subjects(self) -> tuple[Any, ...]:
        """The subjects, each once, in their order."""
        found: list[Any] = []
        for _, subject in self.pairs:
            if not any(subject is other for other in found):
                found.append(subject)
        return tuple(found)


def plan(
    claims: Any = "all",
    subjects: Any = None,
    *,
    settings: Any = None,
    changes: dict[str, Any] | None = None,
    rtol: float = 1e-10,
    max_cost: float | None = None,
) -> Verification:
    """Pair claims with the subjects that they speak of.

    Args:
      claims: see `verify`.
      subjects: see `verify`.
      settings: see `verify`.
      changes: fields of `Theorem1` that are other than in the named settings; `None` keeps one.
      rtol: tolerance of one step of an integrator.
      max_cost: claims whose `cost` is higher are left out, unless they are named one by one.

    Returns:
      What is to be checked.

    Raises:
      ValueError: as `verify`.
    """
    named, grouped, files = _claims(claims, max_cost)
    offers = [offer for offer in files.values() if any(claim in named for claim in offer.claims)]
    offered = [subject for offer in offers for subject in offer.subjects]
    given = [item for part in (subjects, settings) if part is not None for item in as_list(part)]
    changed = {key: value for key, value in (changes or {}).items() if value is not None}
    if "strengths" in changed:
        changed["strengths"] = tuple(as_list(changed["strengths"]))
    whole = [] if settings is None else as_list(settings)
    every = _subjects(given or list(SETTINGS), changed, whole)
    if changed and given and not whole and not any(isinstance(item, str) for item in given):
        raise ValueError(
            f"{', '.join(changed)}: only settings that are named are changed; give the numbers to "
            "your subjects, such as Theorem1(..., num_seeds=4)"
        )
    if subjects is None:
        every += offered
    pairs = []
    for subject in every:
        for claim in named:
            home = next((f for f in files.values() if claim in f.claims), None)
            # A file's claims are checked on its own subjects, if it has any.
            offers_own = home.subjects if home and subjects is None else ()
            own = [s for s in offers_own if claim.speaks_of(s)]
            if claim.speaks_of(subject) and (not own or any(subject is s for s in own)):
                pairs.append((claim, subject))
    paired = {claim.id for claim, _ in pairs}
    for claim in named:
        if claim.id not in paired and claim.id not in grouped:
            kinds = claim.subject if isinstance(claim.subject, tuple) else (claim.subject,)
            raise ValueError(
                f"claim {claim.id}: is about {' or '.join(k.__name__ for k in kinds)}, and none of "
                f"the subjects is one ({', '.join(sorted({type(s).__name__ for s in every}))}); "
                "give such a subject, or leave the claim out"
            )
    words = command_words(claims, given, changed, rtol)
    if words is not None and max_cost != DEFAULT_MAX_COST:
        dear = any(claim.cost > DEFAULT_MAX_COST for claim, _ in pairs)
        if max_cost is not None or dear:
            words += (f"max_cost={_written(max_cost)}",)
    return Verification(tuple(pairs), rtol, words)


def _claims(
    claims: Any, max_cost: float | None
) -> tuple[list[Claim], set[str], dict[str | Path, Offer]]:
    """The claims that are asked for, and what the files among them and packages offer.

    The ids between the two are those that came with "all" or with their family alone: they are
    left out where nothing is there to check them on.
    """
    items = as_list(claims)
    if not items:
        raise ValueError("claims=[]: name claims, or write claims=all")
    files: dict[str | Path, Offer] = {}
    names, own = [], []
    for item in items:
        if isinstance(item, Claim):
            own.append(item)
        elif isinstance(item, Path) or (isinstance(item, str) and item.endswith(".py")):
            files[item] = claims_of_file(item)
            own += files[item].claims
        elif isinstance(item, str):
            names.append(item)
        else:
            raise ValueError(
                f"claims={item!r}: expected ids such as M1-limit, all, paths of files, "
                "or Claim(...)s"
            )
    installed = claims_of_installed_packages()
    files |= {f"entry point {name}": found for name, found in installed.items()}
    ours = claims_of_package("ssmbias.claims")
    every = by_id([*ours, *(c for found in installed.values() for c in found.claims)])
    chosen = select(names, every)
    groups = {"all", *(claim.family.lower() for claim in every.values() if claim.family)}
    one_by_one = select([name for name in names if name.lower() not in groups], every)
    grouped = {claim.id for claim in chosen} - {claim.id for claim in one_by_one}
    if max_cost is not None:
        chosen = [c for c in chosen if c.cost <= max_cost or c.id not in grouped]
    return list(by_id([*chosen, *own]).values()), grouped, files


def _subjects(given: list[Any], changes: dict[str, Any], whole: list[Any]) -> list[Any]:
    """Subjects in order: a setting by name, or in `whole`, comes with all that belongs to it."""
    found: list[Any] = []
    for item in given:
        named = isinstance(item, str)
        if named and item not in SETTINGS:
            raise ValueError(f"settings={item!r}: choose from {', '.join(SETTINGS)}")
        if named or any(item is other for other in whole):
            setting = SETTINGS[item] if named else item
            if not isinstance(setting, Theorem1):
                raise ValueError(
                    f"settings={item!r}: choose from {', '.join(SETTINGS)}, or give a Theorem1(...)"
                )
            setting = _changed(setting, changes)
            if not any(isinstance(subject, Passage) for subject in found):
                found += passages(setting)
            starts(setting)  # refuses a gap that leaves some seed's start out of order
            found += family(setting)
        else:
            found.append(require_subject(item))
    return found


def _changed(setting: Theorem1, changes: Mapping[str, Any]) -> Theorem1:
    """A setting with other numbers, named so that tables show what was changed."""
    label = ", ".join(f"{key}={changes[key]}" for key in OVERRIDES if key in changes)
    name = f"{setting.name}({label})" if label else setting.name
    return dataclasses.replace(setting, name=name, **changes)


def command_words(
    claims: Any, given: Sequence[Any], changes: Mapping[str, Any], rtol: float
) -> tuple[str, ...] | None:
    """The words of a command line that asks for the same; `None` if an object was given.

    Example:
      >>> command_words(["M1", "B1"], ["t7"], {"num_seeds": 64}, 1e-10)
      ('claims=[M1,B1]', 'setting=t7', 'num_seeds=64')
      >>> command_words("all", [], {}, 1e-10)
      ()
    """
    names = [_name(claim) for claim in as_list(claims) if isinstance(claim, str | Path)]
    if len(names) != len(as_list(claims)) or not all(isinstance(item, str) for item in given):
        return None
    values: dict[str, Any] = {}
    if names != ["all"]:
        values["claims"] = names
    if given and list(given) != list(SETTINGS):
        values["setting"] = list(given)
    values |= {"strength" if key == "strengths" else key: v for key, v in changes.items()}
    if rtol != 1e-10:
        values["rtol"] = rtol
    return tuple(f"{key}={_written(value)}" for key, value in values.items())


def _name(claim: str | Path) -> str:
    """What was typed; of a file its name, since its folder is another one elsewhere."""
    return Path(claim).name if str(claim).endswith(".py") else str(claim)


def _written(value: Any) -> str:
    """A value as the command line takes it; a list of one is that one."""
    if isinstance(value, list | tuple):
        return _written(value[0]) if len(value) == 1 else f"[{','.join(map(_written, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
