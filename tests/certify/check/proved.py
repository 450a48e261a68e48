"""A quick proof of a small box, and its file."""

import dataclasses
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from ssmbias.certify import Certificate, certify
from ssmbias.certify.box import Box, default_box
from ssmbias.certify.certificate import ProverOptions

# By name, because `ssmbias.certify.check` is also the function.
command: Any = importlib.import_module("ssmbias.certify.check.__main__")
FOLDER = Path(command.__file__).parent
# Coarse and quick: few pieces, long slabs.
QUICK = ProverOptions(step=0.02, num_e=3, num_g=1, forks=0, splits=0)
BOX = default_box(4, rel=0.1, delta=(1e-8, 1.1e-8))


def proved(box: Box, seq_len: int = 7, **options: Any) -> Certificate:
    found = certify(box, seq_len, options=dataclasses.replace(QUICK, **options))
    assert found.certified, found.reason
    return found
