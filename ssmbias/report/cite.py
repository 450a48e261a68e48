"""How to repeat a run, and how to cite it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_.,=+-]+")
_LIST_WORD = re.compile(r"[A-Za-z0-9_.,=+\[\]-]+")

CITATION = """\
@inproceedings{slutzky2025implicit,
  title     = {The Implicit Bias of Structured State Space Models Can Be Poisoned
               With Clean Labels},
  author    = {Slutzky, Yonatan and Alexander, Yotam and Razin, Noam and Cohen, Nadav},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2025},
  note      = {arXiv:2410.10473}
}

@software{ssmbias,
  title     = {ssmbias: checks theory about the implicit bias of structured state space models},
  author    = {{The ssmbias developers}},
  year      = {2026}
}
"""


def reproduce_command(
    config: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]],
) -> str:
    r"""The command line that repeats a run of the main job; defaults are left out.

    Args:
      config: the configuration of the run as a plain mapping: either the values that the
        command line takes, or the fields of the job, with its `settings` as mappings.
      defaults: the values that the command line takes, in their order, with their defaults.
      settings: fields of the settings that the command line knows, by name.

    Returns:
      A command for a shell, or a comment where a setting was made up in Python.

    Example:
      >>> defaults = {"setting": ["t7", "t9"], "num_seeds": 16}
      >>> reproduce_command({"num_seeds": 64, "setting": ["t7"]}, defaults=defaults, settings={})
      'make verify ARGS="\'setting=[t7]\' num_seeds=64"'
    """
    values = _command_line_values(config, defaults, settings)
    if values is None:
        return "# a setting was defined in Python: pass the configuration above to ssmbias.verify"
    words = [
        f"{key}={_written(values[key])}"
        for key, default in defaults.items()
        if key in values and _as_list(values[key]) != _as_list(default)
    ]
    if not words:
        return "make verify"
    # A shell would take brackets for a pattern.
    args = " ".join(word if _PLAIN_WORD.fullmatch(word) else shlex.quote(word) for word in words)
    simple = all(_LIST_WORD.fullmatch(word) for word in words)
    return f'make verify ARGS="{args}"' if simple else f"make verify ARGS={shlex.quote(args)}"


def _command_line_values(
    config: Mapping[str, Any],
    defaults: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any] | None:
    values = {key: value for key, value in config.items() if key in defaults}
    if "strengths" in config:
        values["strength"] = config["strengths"]
    if "settings" not in config:
        return values
    names, changed = [], []
    for setting in config["settings"]:
        # A changed setting is named after its origin: "t7(seq_len=9)".
        name = str(setting.get("name")).partition("(")[0]
        if name not in settings:
            return None
        original = settings[name]
        if not setting.keys() <= original.keys():
            return None
        names.append(name)
        changed.append({k: v for k, v in setting.items() if k != "name" and v != original[k]})
    # Overrides reach all settings alike; what one had already is not seen as a change in it.
    overrides: dict[str, Any] = {}
    for change in changed:
        overrides |= change
    if any(s.get(k) != v for s in config["settings"] for k, v in overrides.items()):
        return None
    return values | {"setting": names} | overrides


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _written(value: Any) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(_written(v) for v in value)}]"
    return value if isinstance(value, str) else json.dumps(value)
