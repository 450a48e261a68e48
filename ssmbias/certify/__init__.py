"""Certificates: Theorem 1 proved by machine for every start in a box.

A prover in plain floating point looks for a tube that holds every poisoned trajectory from the box,
and writes it down; two checkers, each written from docs/certificates.md alone, replay the file in
rigorous arithmetic. Trust rests on `check`. Nothing here needs JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ssmbias.certify.check import check

if TYPE_CHECKING:
    from ssmbias.certify.box import Box
    from ssmbias.certify.certificate import Certificate, certify
    from ssmbias.certify.clean_limit import enclose_clean_limit
    from ssmbias.certify.second_check import recheck
    from ssmbias.certify.widest import largest_delta, widest_box

__all__ = [
    "Box",
    "Certificate",
    "certify",
    "check",
    "enclose_clean_limit",
    "largest_delta",
    "recheck",
    "widest_box",
]

_HOMES = {
    "Box": "box",
    "Certificate": "certificate",
    "certify": "certificate",
    "enclose_clean_limit": "clean_limit",
    "largest_delta": "widest",
    "recheck": "second_check",
    "widest_box": "widest",
}


def __getattr__(name: str) -> object:
    """Look up the prover's names when they are used: the checker's command does without them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ssmbias.certify' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ssmbias.certify.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
