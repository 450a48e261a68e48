"""Quick boxes for the command, and how they are typed."""

from __future__ import annotations

# A second each: long slabs and no forks. The last box is hopeless and gives up at once.
QUICK = {
    "state_dim": 3, "delta": [5e-9, 5.5e-9], "rel": [0.1], "num_samples": 2,
    "step": 0.02, "forks": 0, "workers": 1,
}  # fmt: skip


def words_of(values: dict) -> list[str]:
    return [f"{key}={str(value).replace(' ', '')}" for key, value in values.items()]
