"""What pytest loads at each start: an option, and nothing of the package until it is given.

Installed as `ssmbias_pytest`, beside the package: as a part of it, it would load `ssmbias` in every
run of pytest, and tools that watch the first import of a package would come too late.
"""

from __future__ import annotations

import importlib

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("ssmbias").addoption(
        "--ssmbias",
        action="append",
        default=[],
        metavar="FILE.py",
        help="check the claims that a file defines (CLAIMS, SUBJECTS), each row of evidence as a "
        "test; may be given several times. Without further paths only these files are run. "
        "Claims are checked in float64; other tests keep their precision.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin if there is something for it to do."""
    files = config.getoption("--ssmbias") or []
    for file in files:
        path = config.invocation_params.dir / file
        if path.suffix != ".py" or not path.is_file():
            raise pytest.UsageError(f"--ssmbias {file}: there is no such Python file")
    if files:
        plugin = importlib.import_module("ssmbias.testing.plugin")
        config.pluginmanager.register(plugin, "ssmbias-claims")
