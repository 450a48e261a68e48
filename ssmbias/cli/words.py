"""Words of a command line: quotes that Hydra needs, and mistakes that it would explain badly."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from ssmbias.runs.mapping import close_name

LAUNCHERS = ("joblib", "ray", "submitit_local", "submitit_slurm")

# A quoted text as it is; else a part without comma or square bracket outside of parentheses.
_PART = re.compile(r"""'[^']*'|"[^"]*"|(?:[^,()'"\[\]]|\((?:[^()]|\([^()]*\))*\))+""")
# What cannot open or close a bracket: quoted or escaped. A quote without an end hides the rest.
_HIDDEN = re.compile(r"""\\.|'(?:\\.|[^'\\])*(?:'|$)|"(?:\\.|[^"\\])*(?:"|$)""", re.DOTALL)
_CLOSES = {")": "(", "]": "[", "}": "{"}


def prepared(words: Sequence[str], known: Sequence[str], texts: Sequence[str]) -> list[str]:
    """The words for Hydra: checked, and texts in quotes.

    Args:
      words: what was typed after the name of the program.
      known: keys that may be given; those of Hydra itself are left to it.
      texts: keys whose values may be texts.

    Raises:
      ValueError: a key is unknown or given twice, or the brackets of a value do not match.
    """
    seen: dict[str, str] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or word.startswith(("-", "~")):
            continue
        if key.isidentifier() and key not in known:
            raise ValueError(_unknown(key, known))
        if not _brackets_match(value):
            raise ValueError(f"{word}: brackets do not match")
        name = key.lstrip("+")
        if name in seen:
            raise ValueError(f"{name}: is given twice, {seen[name]} and {word}; leave one out")
        seen[name] = word
    return [with_quotes(word, texts) for word in words]


def _unknown(key: str, known: Sequence[str]) -> str:
    """What to say about an unknown key."""
    close = close_name(key, known)
    hint = f"did you mean {close}? " if close else ""
    return f"{key}: unknown key; {hint}known are {', '.join(known)}"


def with_quotes(word: str, keys: Sequence[str]) -> str:
    """`strength='logspace(-9,3,60)'` for a text without quotes, which Hydra would take for a call.

    So are the paths of Python files, in which any sign may stand. Commas and square brackets
    outside of parentheses keep what they mean to Hydra.

    Example:
      >>> with_quotes("claims=[M1, ~/my claims.py]", ["claims"])
      "claims=[M1, '~/my claims.py']"
    """
    key, sign, value = word.partition("=")
    if not sign or key.lstrip("+") not in keys:
        return word
    return f"{key}={_PART.sub(_with_quotes, value)}"


def one_line(error: BaseException, known: Sequence[str], texts: Sequence[str] | None = None) -> str:
    """The message of an error and of what caused it, without line breaks.

    Args:
      error: what was raised, by Hydra or not.
      known: keys that a message about an unknown one lists.
      texts: keys that take several values in one job; `None` is all of them.
    """
    return _of_hydra(str(error), known, texts) or _with_cause(error)


def _of_hydra(message: str, known: Sequence[str], texts: Sequence[str] | None) -> str:
    """What Hydra means by some of its messages, or ""."""
    found = re.search(r"Could not override '([^']+)'", message)
    if found:
        close = difflib.get_close_matches(found[1], known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{found[1]}: unknown key; known are {', '.join(known)}{hint}"
    missing = re.search(
        r"Could not find '([\w/]+)/([^'/]+)'(?:\s+Available options in '[\w/]+':([^:]*?)Config)?",
        message,
        re.DOTALL,
    )
    if missing:
        group, value, options = missing.groups()
        if value in LAUNCHERS:
            return f"{group}={value}: is not installed; pip install 'ssmbias[cluster]'"
        return f"{group}={value}: choose from {', '.join((options or 'nothing').split())}"
    several = re.search(
        r"Ambiguous value for argument '(([^'=]+)=([^']+))'"
        r"|Sweep parameters '(.+)' requires? --multirun",
        message,
    )
    if not several:
        return ""
    word, key, values, generated = several.groups()
    if word and (texts is None or key in texts):
        return f"{key}={values}: write {key}=[{values}] for one job, or add -m for one job each"
    return f"{word or generated}: takes one value in a job; add -m for one job each"


def _with_cause(error: BaseException) -> str:
    override = getattr(error, "override", None)
    parts = [*([f"{override}:"] if override else []), str(error)]
    if error.__cause__ is not None and isinstance(error, HydraException):
        parts.append(str(error.__cause__))
    return " ".join(" ".join(parts).split())


def _with_quotes(part: re.Match[str]) -> str:
    text = part[0].strip()
    if not text or text[0] in "'\"" or not ("(" in text or text.endswith(".py")):
        return part[0]
    return part[0].replace(text, f"'{text}'")


def absolute(value: Any, folder: Path, *, python_only: bool = False) -> Any:
    """A path, or the paths in a list, true in this process too, with `~` for the user's home.

    It stays as it was typed where that is true: reports then name no folder of one machine.

    Args:
      value: what was given; what is no text is left as it is.
      folder: in which the command was typed.
      python_only: whether only what ends in .py is a path.

    Example:
      >>> absolute(["M1", "my.py"], Path("/here"), python_only=True)
      ['M1', '/here/my.py']
    """
    if isinstance(value, list | tuple):
        return [absolute(one, folder, python_only=python_only) for one in value]
    if not isinstance(value, str) or (python_only and not value.endswith(".py")):
        return value
    if value.startswith("~"):
        value = str(Path(value).expanduser())
    return value if folder == Path.cwd() else str(folder / value)


def _brackets_match(value: str) -> bool:
    opened: list[str] = []
    for sign in _HIDDEN.sub("", value):
        if sign in _CLOSES.values():
            opened.append(sign)
        elif sign in _CLOSES and (not opened or opened.pop() != _CLOSES[sign]):
            return False
    return not opened
