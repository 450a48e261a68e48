"""Where claims come from: the modules of a package, a user's file, and installed packages."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ssmbias.evidence.beside import importable
from ssmbias.evidence.claim import Claim, require_subject

ENTRY_POINTS = "ssmbias.claims"
"""Group of entry points by which an installed package offers its claims."""


class Offer(NamedTuple):
    """Claims of one source with the subjects that it offers.

    Attributes:
      claims: in the order of their module.
      subjects: what they are to be checked on unless the caller says otherwise.
    """

    claims: tuple[Claim, ...]
    subjects: tuple[Any, ...]


def claims_of_package(name: str) -> tuple[Claim, ...]:
    """The claims of all modules of a package, in the order of the modules' names.

    Args:
      name: dotted name of the package; every module of it defines `CLAIMS`.

    Raises:
      ValueError: a module has no `CLAIMS`.
    """
    package = importlib.import_module(name)
    infos = sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name)
    modules = [importlib.import_module(f"{name}.{info.name}") for info in infos]
    return tuple(claim for module in modules for claim in _found(module, module.__name__).claims)


def claims_of_file(path: str | Path) -> Offer:
    """Claims and subjects of a Python file outside of the package.

    Args:
      path: a file that defines `CLAIMS` and, as a rule, `SUBJECTS`. It may import modules that
        stand beside it, whose names no other file's modules have.

    Returns:
      What it defines.

    Raises:
      ValueError: there is no such file, it cannot be run, it defines no claims, or a module beside
        it has the name of one that is loaded from elsewhere.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ValueError(f"claims={path}: there is no such file")
    # One module for each path: a dataclass looks itself up under its module's name.
    name = f"ssmbias_claims_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"claims={path}: is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with importable(file):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, ValueError) and "claim" in str(error).lower():
            raise ValueError(f"claims={path}: {error}") from error
        raise ValueError(
            f"claims={path}: running it raised {type(error).__name__}: {error}"
        ) from error
    return _found(module, f"claims={path}")


def claims_of_installed_packages() -> dict[str, Offer]:
    """Claims that installed packages offer as entry points of the group `ssmbias.claims`.

    Returns:
      What each entry point names: a module with `CLAIMS` and `SUBJECTS`.

    Raises:
      ValueError: an entry point cannot be loaded, or is no such module.
    """
    found = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        where = f"entry point {entry.name} = {entry.value}"
        try:
            found[entry.name] = _found(entry.load(), where)
        except ValueError:
            raise
        except Exception as error:  # whatever another's module does when it is imported
            kind = type(error).__name__
            raise ValueError(f"{where}: cannot be loaded: {kind}: {error}") from error
    return found


def by_id(claims: Iterable[Claim]) -> dict[str, Claim]:
    """Claims by id.

    Raises:
      ValueError: two of them have the same id.
    """
    found: dict[str, Claim] = {}
    for claim in claims:
        if claim.id in found and found[claim.id] is not claim:
            raise ValueError(f"claim id {claim.id!r} is taken; give yours another id")
        found[claim.id] = claim
    return found


def select(names: Sequence[str], claims: dict[str, Claim]) -> list[Claim]:
    """Claims by id, by the part of the id before a hyphen, or by family; "all" is every one.

    Args:
      names: such as ("M1-limit", "B1", "identities"), upper or lower case.
      claims: to choose from.

    Returns:
      The claims in the order of `claims`, each once.

    Raises:
      ValueError: a name matches nothing.

    Example:
      >>> ours = by_id(claims_of_package("ssmbias.claims"))
      >>> [claim.id for claim in select(["m4"], ours)]
      ['M4']
    """
    wanted: set[str] = set()
    for name in names:
        key = name.lower()
        match = {
            id
            for id, claim in claims.items()
            if key in ("all", id.lower(), id.lower().split("-", maxsplit=1)[0])
            or key == claim.family.lower()
        }
        if not match:
            families = sorted({claim.family for claim in claims.values() if claim.family})
            raise ValueError(
                f"claims={name!r}: choose from all, {', '.join([*families, *claims])}, or name a "
                "file of your own, such as claims=my_claims.py"
            )
        wanted |= match
    return [claim for id, claim in claims.items() if id in wanted]


def _found(module: ModuleType | Any, where: str) -> Offer:
    claims = getattr(module, "CLAIMS", None)
    if claims is None:
        raise ValueError(f"{where}: defines no CLAIMS; see docs/adding-a-claim.md")
    claims = tuple(claims) if isinstance(claims, list | tuple) else (claims,)
    if not claims:
        raise ValueError(f"{where}: CLAIMS is empty; see docs/adding-a-claim.md")
    for claim in claims:
        if not isinstance(claim, Claim):
            raise ValueError(f"{where}: CLAIMS holds {claim!r}, which is no Claim(...)")
    subjects = getattr(module, "SUBJECTS", ())
    subjects = tuple(subjects) if isinstance(subjects, list | tuple) else (subjects,)
    try:
        return Offer(claims, tuple(require_subject(subject) for subject in subjects))
    except ValueError as error:
        raise ValueError(f"{where}: SUBJECTS: {error}") from None
