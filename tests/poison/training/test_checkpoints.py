"""States of a long computation on disk."""

from __future__ import annotations

import numpy as np
import pytest

from ssmbias.poison.training.checkpoints import KEPT, Checkpoints


class TestCheckpoints:
    """States on disk."""

    def test_keeps_the_last_ones(self, tmp_path):
        with Checkpoints(tmp_path / "run") as kept:
            for step in range(1, 5):
                kept.save(step, (np.full(3, step), np.float32(step)))
            assert kept.steps() == [3, 4]
            assert len(kept.steps()) == KEPT
            latest = kept.latest((np.zeros(3, int), np.float32(0)))
            assert latest is not None
            step, state = latest
            assert step == 4
            assert state[0].tolist() == [4, 4, 4]

    def test_another_form_is_refused(self, tmp_path):
        with Checkpoints(tmp_path / "run") as kept:
            kept.save(1, {"w": np.zeros(3)})
            for other in ({"w": np.zeros(4)}, {"w": np.zeros(3), "v": np.zeros(1)}):
                with pytest.raises(ValueError, match="of another computation; remove"):
                    kept.latest(other)
