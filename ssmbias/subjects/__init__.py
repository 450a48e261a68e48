"""What claims are about, one file each, with the simulations that claims share.

A subject is a frozen dataclass with a name; its runs are made once on a bench.
"""

from __future__ import annotations

from ssmbias.subjects.descents import Descents
from ssmbias.subjects.escapes import Escapes
from ssmbias.subjects.family import family, passages
from ssmbias.subjects.free_flows import FreeFlows
from ssmbias.subjects.paper_networks import PaperNetworks
from ssmbias.subjects.passage import Passage
from ssmbias.subjects.states import HasStates, States
from ssmbias.subjects.tails import Tails
from ssmbias.subjects.theorem1 import DEFAULT_STRENGTHS, SETTINGS, Theorem1

__all__ = [
    "DEFAULT_STRENGTHS",
    "SETTINGS",
    "Descents",
    "Escapes",
    "FreeFlows",
    "HasStates",
    "PaperNetworks",
    "Passage",
    "States",
    "Tails",
    "Theorem1",
    "family",
    "passages",
]
