"""F1 at a size at which only compiling takes time."""

from __future__ import annotations

from ssmbias.poison.catalogue import find_experiment
from ssmbias.poison.changes import changed

# One shape for nearly all tests here: compiling takes most of their time.
TINY = {
    "seq_len": 8, "support": 3, "num_train": 6, "num_poisons": 4, "num_test": 16,
    "num_targets": 5, "steps": 3, "channels": 2, "state_dim": 2, "head_width": 2,
    "brew_steps": 2, "victim_steps": 2,
}  # fmt: skip
F1 = changed(find_experiment("f1"), TINY)
SEEDS = (3, 7)
