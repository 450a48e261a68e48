"""The paper's experiments: replays of its own runs, and the library's protocol over many seeds."""

from __future__ import annotations

from ssmbias.paper.original import OriginalRun, load_original
from ssmbias.paper.replay import ReplayResult, replay

__all__ = ["OriginalRun", "ReplayResult", "load_original", "replay"]
