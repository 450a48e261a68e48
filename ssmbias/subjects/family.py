"""From a setting of Theorem 1 to all the subjects that our claims are checked on."""

from __future__ import annotations

from typing import Any

from ssmbias.subjects.descents import Descents
from ssmbias.subjects.escapes import Escapes
from ssmbias.subjects.free_flows import FreeFlows
from ssmbias.subjects.paper_networks import PaperNetworks
from ssmbias.subjects.passage import SEQ_LENS, Passage
from ssmbias.subjects.tails import Tails
from ssmbias.subjects.theorem1 import Theorem1


def family(setting: Theorem1) -> tuple[Any, ...]:
    """A setting, and the subjects with its κ, its d and its seeds; all have its name.

    Args:
      setting: the setting of Theorem 1.

    Returns:
      Subjects of different types. Those that need another one's runs hold it as a field.

    Example:
      >>> from ssmbias.subjects.theorem1 import SETTINGS
      >>> [type(subject).__name__ for subject in family(SETTINGS["t7"])][:2]
      ['Theorem1', 'FreeFlows']
    """
    numbers = {
        "name": setting.name,
        "seq_len": setting.seq_len,
        "state_dim": setting.state_dim,
        "first_seed": setting.first_seed,
        "num_seeds": setting.num_seeds,
    }
    flows = FreeFlows(**numbers)
    return (
        setting,
        flows,
        Descents(setting.name, flows),
        PaperNetworks(**numbers),
        Escapes(setting.name, setting),
        Tails(setting.name, setting),
    )


def passages(setting: Theorem1) -> tuple[Passage, ...]:
    """Weakly poisoned flows for each known κ, with the seed and the horizon of a setting."""
    return tuple(
        Passage(f"κ={seq_len}", seq_len, setting.first_seed, setting.horizon)
        for seq_len in SEQ_LENS
    )
