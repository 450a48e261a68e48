"""Wrong formulas in the prover of certificates are found out, by trajectories or by the checkers.

A mutant proves with a formula that is wrong in one place. Either it finds no tube, or trajectories
from the box, which are integrated without anything of the prover, leave its tube; and both checkers
refuse what it writes. Mutants of the checker's own bounds are in tests/certify/check/test_bounds.py
(`test_a_wrong_bound_is_found`), with the one that no trajectory finds: on a face of μ_j, A without
the term of μ_j itself.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from flint import arb

from ssmbias.certify import check, recheck
from ssmbias.certify.box import default_box
from ssmbias.certify.catalogue import CASES
from ssmbias.certify.check import bounds as check_bounds
from ssmbias.certify.prover import prove as prover
from ssmbias.certify.prover import slab as one_slab
from ssmbias.certify.prover.proof_log import compress, header_lines, record_lines
from ssmbias.certify.prover.prove import Node, ProverOptions, prove
from ssmbias.certify.prover.system import Slab, geometric_sum
from ssmbias.certify.samples import Sample, outside, poisoned_errors

SEQ_LEN, STRENGTH = 7, 1.0
BOX = default_box(5, rel=0.1, delta=(1e-8, 1.1e-8))
OPTIONS = ProverOptions(step=8e-3, num_e=3, num_g=4, forks=0, splits=0)


def slabs_of(node: Node) -> list[Slab]:
    return [slab for leaf in node.leaves() for slab in leaf.slabs]


def count_outside(node: Node, samples: list[Sample]) -> tuple[int, int]:
    """Points outside the node's tube, and points compared."""
    slabs = slabs_of(node)
    return tuple(np.sum([outside(sample, slabs) for sample in samples], axis=0).tolist())


def write(path: Any, node: Node, claims: tuple[float, float, float]) -> Any:
    """The log of a tube under any claims, on which no test here depends."""
    header = header_lines(node.box, SEQ_LEN, STRENGTH, claims)
    path.write_bytes(compress([*header, *record_lines(node.all_records()), "qed"]))
    return path


# Claims that say nothing: a log under them is refused for its tube alone.
WEAKEST = (1.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return poisoned_errors(BOX, SEQ_LEN, STRENGTH, 4, seed=0)


def strengthened(factor: float, bounds: Any, system: Any, *args: Any) -> Any:
    """Rates with another strength: -1 flips the sign of ρ d w/q, 1/d leaves the d out."""
    return bounds(system._replace(strength=factor * system.strength), *args)


def mean_bounds(system: Any, e: float, mu: Any, cuts: Any) -> tuple[float, float]:
    """Bounds of A at one e over μ in [mu[0], mu[1]], by multipliers."""
    p, phis = system.p, []
    for zeta, sign in ((cuts.zeta_lo, -1), (cuts.zeta_hi, 1)):
        # The μ at which z = -ζ (there φ may be least) or z = ζ (greatest), if it is in the range.
        inner = np.clip((1 - sign * zeta) / e, mu[0], mu[1])
        at, c = np.stack([mu[0], mu[1], inner]), p * zeta ** (p - 1)
        phis.append(c + (geometric_sum(1 - e * at, p) * at - c * at) / system.dim)
        phis[-1] += c * (1 / (system.dim - 2) - 1)  # summed over the d-2 gaps, c counts once
    return float(phis[0].min(axis=0).sum()), float(phis[1].max(axis=0).sum())


def with_growth(form: Callable, bounds: Any, system: Any, span: Any, *args: Any) -> Any:
    """Rates on the faces of g with another formula for P(1 + ge)/A."""
    s, t, cuts = args
    faces = bounds(system, span, s, t, cuts)
    low, high = np.minimum(s, t), np.maximum(s, t)
    rate, mu = faces.rate.copy(), (low[0, 2:], high[1, 2:])
    for side, (g, w, clock) in enumerate(
        ((low[0, 0], high[1, 1], span[0]), (high[1, 0], low[0, 1], span[1]))
    ):
        e = 1 / ((1 + w) / (system.dim * clock) + 1 - g / system.dim)
        extra = form(system, g, e, mean_bounds(system, e, mu, cuts), side) - 1
        # A positive rate is strongest for small E, and g runs over the face's two ends.
        ends = (low[side, 0] / span[1], high[side, 0] / span[0])
        rate[side, 0] = (min, max)[side](extra * x for x in ends)
    return faces._replace(rate=rate)


def right(system: Any, g: float, e: float, mean: tuple[float, float], side: int) -> float:
    """The formula as it should be: no mutant."""
    return geometric_sum(1 + g * e, system.p) / mean[1 - side]


def swapped(system: Any, g: float, e: float, mean: tuple[float, float], side: int) -> float:
    """A's bounds exchanged."""
    return geometric_sum(1 + g * e, system.p) / mean[side]


def flat(system: Any, g: float, e: float, mean: tuple[float, float], side: int) -> float:
    """P(1 + ge) as if g were 0: p."""
    return system.p / mean[1 - side]


def punctual(entries: Any, *args: Any) -> Any:
    """All trajectories enter at the least E."""
    entry = entries(*args)
    return entry._replace(clock=(entry.clock[0], entry.clock[0]))


MUTANTS = {
    "sign of the poison's pull": ("face_bounds", functools.partial(strengthened, -1.0)),
    "pull without d": ("face_bounds", functools.partial(strengthened, 1 / BOX.state_dim)),
    "bounds of A swapped for g": ("face_bounds", functools.partial(with_growth, swapped)),
    "P(1 + ge) = p": ("face_bounds", functools.partial(with_growth, flat)),
    "no late entry": ("entry_box", punctual),
}


@contextlib.contextmanager
def mutated(name: str, mutant: Callable) -> Iterator[None]:
    """The prover with one formula replaced."""
    module = {"face_bounds": one_slab, "entry_box": prover}[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, functools.partial(mutant, getattr(module, name)))
        yield


@functools.cache
def prove_with(name: str, mutant: Callable) -> Node:
    with mutated(name, mutant):
        return prove(BOX, SEQ_LEN, STRENGTH, OPTIONS)


@pytest.mark.parametrize("control", ["the prover itself", "its own formula, put in from outside"])
def test_the_right_formulas_hold_every_trajectory(control, samples, tmp_path):
    """Without this a mutant might fail for another reason."""
    if control == "the prover itself":
        node = prove(BOX, SEQ_LEN, STRENGTH, OPTIONS)
    else:
        node = prove_with("face_bounds", functools.partial(with_growth, right))
    missed, points = count_outside(node, samples)
    assert (node.reason, missed) == ("", 0)
    assert points > 9000
    assert node.limits is not None
    errors = [sample.error for sample in samples]
    assert node.limits.lower <= min(errors) <= max(errors) <= node.limits.upper
    path = write(tmp_path / "proof.gz", node, WEAKEST)
    assert check(path).valid
    assert recheck(path).valid


def test_a_pull_of_the_wrong_sign_leaves_no_tube():
    node = prove_with(*MUTANTS["sign of the poison's pull"])
    assert "face of w" in node.reason
    assert len(node.slabs) < 10


@pytest.mark.parametrize(
    ("mutant", "at_least"),
    # About half of what was found: 8969, 1888, 2394 and 298 of 10689 points.
    [
        ("pull without d", 4000),
        ("bounds of A swapped for g", 900),
        ("P(1 + ge) = p", 1200),
        ("no late entry", 150),
    ],
)
def test_trajectories_leave_the_tube_of_a_mutant(mutant, at_least, samples, tmp_path):
    node = prove_with(*MUTANTS[mutant])
    assert not node.reason
    assert count_outside(node, samples)[0] >= at_least
    # And neither checker takes it, though it claims nothing.
    path = write(tmp_path / "proof.gz", node, WEAKEST)
    assert not check(path).valid
    assert not recheck(path).valid


def test_a_checker_with_the_same_mistake_is_contradicted_by_simulation(
    samples, tmp_path, monkeypatch
):
    """Prover and checker agree on a false theorem: what sampling is for."""
    node = prove_with(*MUTANTS["pull without d"])
    assert node.limits is not None
    claims = (1.0, node.limits.lower, node.limits.upper)
    path = write(tmp_path / "proof.gz", node, claims)
    monkeypatch.setattr(
        check_bounds,
        "bracket",
        lambda problem, s_p, w, q: s_p - arb(problem.strength) * w / q,
    )
    report = check(path)
    assert report.valid
    assert min(sample.error for sample in samples) < report.poisoned_error_lower
    monkeypatch.undo()
    assert not check(path).valid


def test_any_branch_of_a_forked_tube_counts(samples):
    options = ProverOptions(step=8e-3, num_e=3, num_g=4, forks=3, splits=0)
    node = prove(BOX, SEQ_LEN, STRENGTH, options)
    assert any(record[0] == "fork" for record in node.all_records())
    assert count_outside(node, samples)[0] == 0
    # Without the slabs that hold its last point, that point is outside: no other branch holds it.
    sample = samples[0]
    last = Sample(0.0, *(getattr(sample, name)[-1:] for name in Sample._fields[1:]))
    others = [slab for slab in node.slabs if outside(last, [slab])[0]]
    assert len(others) < len(node.slabs)
    assert outside(last, others) == (1, 1)
    assert outside(last, []) == (1, 1)


MANY = [
    *("k7d10 rel 0.1", "k7d10 rel 0.5", "k7d10 scale 1e-6", "k7d5", "k7d3", "k9d10", "k11d10"),
    *("k5d10", "k7d10 strength 0.1", "k7d10 strength 10", "T9 seed 342 rel 0.1"),
]


def narrowed(slab: Slab) -> Slab:
    """Both boxes a third as wide."""
    start, end = ((2 * box.mean(axis=0) + box) / 3 for box in (slab.start, slab.end))
    return dataclasses.replace(slab, start=start, end=end)


@pytest.mark.slow
def test_no_point_of_many_trajectories_is_outside():
    """At least 1e5 points over boxes of every kind, forks included; a narrower tube loses some."""
    chosen = [case for case in CASES if case.name in MANY]
    assert len(chosen) == len(MANY)
    missed = points = lost = 0
    for seed, case in enumerate(chosen):
        node = prove(case.box, case.seq_len, case.strength, ProverOptions(splits=0))
        assert not node.reason
        slabs = slabs_of(node)
        for sample in poisoned_errors(case.box, case.seq_len, case.strength, 6, seed):
            found = outside(sample, slabs)
            missed, points = missed + found[0], points + found[1]
            lost += outside(sample, [narrowed(slab) for slab in slabs])[0]
            assert case.poisoned_error <= sample.error
            assert node.limits is not None
            assert node.limits.lower <= sample.error <= node.limits.upper
    assert missed == 0
    assert points >= 100_000
    assert lost > 1000
