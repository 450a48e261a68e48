"""Random boxes: what is certified is true of simulated runs."""

import random
from pathlib import Path

import pytest

from ssmbias.certify import certify, recheck
from ssmbias.certify.box import Box, default_box
from ssmbias.certify.certificate import ProverOptions
from ssmbias.certify.samples import box_points, clean_error, follow

# By kappa: gaps δ / scale (as powers of 10) that do harm, from tiny ones to some that are too wide.
_LOGS = {5: (-5.5, -2.5), 7: (-7.0, -3.5), 9: (-10.0, -6.0)}


def random_problem(rng: random.Random) -> tuple[Box, int, float]:
    """A box, κ and ρ; not all can be certified, least of all coarsely."""
    seq_len, dim = rng.choice([5, 7, 9]), rng.randint(3, 8)
    scale, rel = 10 ** rng.uniform(-4, -2), rng.choice([1e-3, 0.05, 0.15, 0.3])
    low = scale * 10 ** rng.uniform(*_LOGS[seq_len])
    delta = (low, low * rng.choice([1.0, 1.05, 1.5, 3.0]))
    box = default_box(dim, scale=scale, rel=rel, delta=delta)
    return box, seq_len, 10 ** rng.uniform(-0.7, 0.7)


def hold_against_samples(seeds: range, num: int, folder: Path, wider: float = 1.0) -> int:
    """How many of some random boxes are certified; what is certified must be true.

    `wider` multiplies the samples' δ, for a control.
    """
    certified = 0
    for seed in seeds:
        box, seq_len, strength = random_problem(random.Random(seed))
        options = ProverOptions(step=0.02, num_e=4, num_g=2, forks=0, splits=0, max_slabs=1200)
        found = certify(box, seq_len, strength, options=options)
        if not found.certified:
            # Never because the checker had to refuse what the prover believed.
            assert "checker" not in found.reason, (seed, found.reason)
            continue
        certified += 1
        second = recheck(found.save(folder / "proof.gz"))
        assert second.valid, (seed, second)
        points = [(a2, wider * gap, gaps) for a2, gap, gaps in box_points(box, num, seed)]
        for bounds in (found, second):
            for point in points[:2]:
                clean = clean_error(point, seq_len)
                assert clean <= bounds.clean_error_upper, (seed, point)
            assert bounds.poisoned_error_lower <= bounds.poisoned_error_upper
        for point in points:
            error = follow(point, seq_len, strength).error
            # The integrator errs by some 1e-9 of it; bounds are further away than that.
            assert found.poisoned_error_lower <= error <= found.poisoned_error_upper, (seed, point)
    return certified


def test_random_boxes_are_certified_truly(tmp_path):
    """At least three quarters can be certified, or the test would say little."""
    assert hold_against_samples(range(4), 2, tmp_path) >= 3
    # Starts with a gap that is no longer small are not in the box, and do not obey its bounds.
    with pytest.raises(AssertionError, match=r"\(0, \("):
        hold_against_samples(range(1), 1, tmp_path, wider=300.0)


@pytest.mark.slow
def test_many_random_boxes_are_certified_truly(tmp_path):
    assert hold_against_samples(range(100, 140), 4, tmp_path) >= 30
