"""All arms, found in the files of this folder.

A file tells of its arms by `ARM`, or `ARMS` for several of one family; `family(name)` gives arms
whose names have a number in them, such as window24. Nothing else needs to know of a new file.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable

from ssmbias.poison import arms as folder
from ssmbias.poison.arms.arm import Arm
from ssmbias.poison.settings import Experiment


@functools.cache
def _modules() -> tuple[object, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    skipped = ("registry",)
    return tuple(
        importlib.import_module(f"{folder.__name__}.{name}")
        for name in names
        if name not in skipped
    )


@functools.cache
def all_arms() -> tuple[Arm, ...]:
    """All arms in their order, but for the families.

    Example:
      >>> [arm.name for arm in all_arms()][:4]
      ['base', 'dup', 'early', 'rpos']
    """
    found: list[Arm] = []
    for module in _modules():
        one = getattr(module, "ARM", None)
        found += [*([one] if one is not None else []), *getattr(module, "ARMS", ())]
    return tuple(sorted(found, key=lambda arm: arm.order))


def find_arm(name: str) -> Arm | None:
    """The arm of a name; `None` where there is none.

    Example:
      >>> find_arm("window24").words.title
      'the elements of late from position 24 on'
    """
    for arm in all_arms():
        if arm.name == name:
            return arm
    for module in _modules():
        family = getattr(module, "family", None)
        found = None if family is None else _of_family(family, str(name))
        if found is not None:
            return found
    return None


@functools.cache
def _of_family(family: Callable[[str], Arm | None], name: str) -> Arm | None:
    """One and the same arm whenever it is asked for."""
    return family(name)


def arms_of(experiment: Experiment) -> tuple[str, ...]:
    """The names of all arms that an experiment can have, but for the families."""
    return tuple(arm.name for arm in all_arms() if not arm.lacks(experiment))


def arms_by_hand(experiment: Experiment) -> tuple[str, ...]:
    """Those of them that need no search."""
    names = arms_of(experiment)
    return tuple(arm.name for arm in all_arms() if arm.by_hand is not None and arm.name in names)


def attacks() -> tuple[str, ...]:
    """The names of all arms that a verdict can be about.

    Example:
      >>> attacks()
      ('late', 'found', 'found_late')
    """
    return tuple(arm.name for arm in all_arms() if arm.words.role == "attack")


def in_order(names: Iterable[str]) -> list[str]:
    """Names of arms in the order of all arms, unknown ones last.

    Example:
      >>> in_order(["found", "mine", "dup"])
      ['dup', 'found', 'mine']
    """
    order = [arm.name for arm in all_arms()]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def require_arms(experiment: Experiment, arms: Iterable[str | Arm]) -> tuple[Arm, ...]:
    """Return the arms, or say which of them this experiment does not have.

    Args:
      experiment: which.
      arms: names, or arms of your own.

    Returns:
      The arms.

    Raises:
      ValueError: no arm, an unknown one, one twice, one of your own with a name of ours, one that
        only a teacher could label, or a window outside of the sequence.

    Example:
      >>> from ssmbias.poison.catalogue import find_experiment
      >>> require_arms(find_experiment("f1"), ["base", "later"])
      Traceback (most recent call last):
      ValueError: arms='later': choose from base, dup, early, rpos, noise, gen, late, found, ...
    """
    if isinstance(arms, str) or not isinstance(arms, Iterable):
        raise ValueError(f"arms={arms!r}: pass a list, such as ['base', 'late']")
    given = tuple(arms)
    known = [*arms_of(experiment)]
    if not given:
        raise ValueError(f"arms=[]: choose from {', '.join(known)}")
    families = [getattr(module, "FAMILY", "") for module in _modules()]
    choice = ", ".join([*known, *(name for name in families if name and experiment.has_teacher)])
    found: list[Arm] = []
    for one in given:
        arm = one if isinstance(one, Arm) else find_arm(one)
        name = one.name if isinstance(one, Arm) else one
        if arm is None:
            raise ValueError(f"arms={name!r}: choose from {choice}")
        if find_arm(name) not in (None, arm):
            raise ValueError(f"arms={name!r}: is an arm of the package; give yours another name")
        reason = arm.lacks(experiment)
        if reason:
            raise ValueError(f"arms={name!r}: {reason}; choose from {choice}")
        if name in [other.name for other in found]:
            raise ValueError(f"arms={name!r}: is given twice")
        found.append(arm)
    return tuple(found)


def with_needed(experiment: Experiment, arms: Iterable[Arm]) -> tuple[Arm, ...]:
    """The arms with those that they are made from, each once, in the order of all arms.

    Raises:
      ValueError: an arm needs one that is neither among the arms nor of the package.
    """
    found = {arm.name: arm for arm in arms}
    to_look_at = [*found.values()]
    for arm in to_look_at:
        needed = [*arm.needs]
        # Networks trained one by one are attacked as base left them, and end where base did.
        schedule = getattr(experiment.training, "schedule", "")
        if not experiment.training.at_once and (arm.carrier == "found" or schedule == "paper"):
            needed.append("base")
        for name in needed:
            if name in found:
                continue
            other = find_arm(name)
            if other is None:
                raise ValueError(f"arms={arm.name!r}: needs the arm {name!r}; pass it as well")
            found[name] = other
            to_look_at.append(other)
    return tuple(sorted(found.values(), key=lambda arm: arm.order))
