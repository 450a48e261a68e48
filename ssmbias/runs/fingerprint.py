"""What a stored number depends on, as one digest: the same for every program."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any, cast

from ssmbias.runs.describe import described
from ssmbias.runs.provenance import versions
from ssmbias.runs.sources import PACKAGE, digest_of, uses


def fingerprint(configuration: Any, *sources: str | Path) -> str:
    """Identify what a stored number depends on.

    Two runs have the same fingerprint if they have the same configuration, versions of Python and
    of all numeric packages, kind of hardware, and source of the modules that they use. The number
    of cores does not count.

    Args:
      configuration: what the run is to do: a dataclass, plain values, arrays, functions; see
        `ssmbias.runs.describe.described`.
      *sources: the modules that compute it, by name, or a user's files, by path; what they import
        counts as well (`ssmbias.runs.sources.digest_of`). None means the whole package.

    Returns:
      A SHA-256 in hexadecimal digits.

    Raises:
      ValueError: there is no such source, or the configuration holds what has no description.

    Example:
      >>> one = fingerprint({"seed": 1}, "ssmbias.theory.clean")
      >>> one == fingerprint({"seed": 1}, "ssmbias.theory.clean")
      True
      >>> one == fingerprint({"seed": 2}, "ssmbias.theory.clean")
      False
    """
    return digest_of_parts(parts(configuration, *sources))


def parts(configuration: Any, *sources: str | Path) -> dict[str, Any]:
    """What `fingerprint` is made of, as plain values, for messages about what differs."""
    named = sources or tuple(_whole_package())
    # The source says more than the package's own version.
    known = {name: version for name, version in versions().items() if name != PACKAGE}
    return {
        "configuration": described(configuration),
        "versions": known,
        "hardware": _kind_of_hardware(*named),
        "source": digest_of(*named),
    }


def digest_of_parts(found: dict[str, Any]) -> str:
    """The fingerprint that some parts make."""
    text = json.dumps(found, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _kind_of_hardware(*sources: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": platform.machine(), "system": platform.system()}
    if uses("jax", *sources):
        import jax  # noqa: PLC0415  (slow to import, and certificates do without it)

        device, config = jax.devices()[0], cast(Any, jax.config)
        found |= {
            "platform": device.platform,
            "device": device.device_kind,
            "float64": bool(config.jax_enable_x64),
            "matmul_precision": str(config.jax_default_matmul_precision),
        }
    return found


def _whole_package() -> list[str]:
    root = Path(__file__).resolve().parents[1]
    return [
        ".".join([PACKAGE, *path.relative_to(root).with_suffix("").parts])
        for path in sorted(root.rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]
