"""Bounds of the second checker on the faces of a slab, against exact rational arithmetic."""

from fractions import Fraction
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
from certify.second_check.exact_slabs import exact_state, points_on_face, random_slabs
from mpmath import mpf

from ssmbias.certify.second_check import average, slabs
from ssmbias.certify.second_check.bounds import Model


class Sample(NamedTuple):
    """A slab with numbers of pieces and, by (coordinate, upper), exact changes on its faces."""

    model: Model
    slab: slabs.Slabs
    pieces: tuple[int, int]
    changes: dict[tuple[str, bool], list[Any]]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    rng = np.random.default_rng(3)
    found = []
    with mpmath.workdps(60):
        for model, slab in random_slabs(rng, 45):
            changes: dict[tuple[str, bool], list[Any]] = {}
            names = ["g", "w", *(f"mu_{j + 3}" for j in range(model.state_dim - 2))]
            for name in names[: 2 if model.state_dim == 3 else None]:
                for upper in (False, True):
                    states = [
                        exact_state(model, point)
                        for point in points_on_face(rng, model, slab, name, upper, 6)
                    ]
                    changes[name, upper] = [
                        state["rates"][name] * (mpf(slab.to[0]) - mpf(slab.from_[0]))
                        for state in states
                        if state["q"] > 0 and state["S_p"] > 0
                    ]
            pieces = int(rng.integers(1, 5)), int(rng.integers(1, 5))
            found.append(Sample(model, slab, pieces, changes))
    return found


def face_violations(samples: list[Sample], sign: float = 1.0) -> tuple[int, int]:
    """(exact changes beyond their bound, changes compared); `sign` flips the labels' pull."""
    beyond = compared = 0
    for model, slab, pieces, changes in samples:
        with np.errstate(all="ignore"):
            _, faces = slabs.tube_bounds(
                model._replace(strength=sign * model.strength), slab, *pieces
            )
        for face in faces:
            if np.isfinite(face.bound[0]):
                bound = mpf(face.bound[0])
                for change in changes[face.name, face.upper]:
                    compared += 1
                    beyond += change > bound if face.upper else change < bound
    return beyond, compared


def test_face_bounds_hold_at_exact_points(samples):
    beyond, compared = face_violations(samples)
    assert compared > 800
    assert beyond == 0
    # A checker with the sign of the pull wrong is exposed by the same points.
    assert face_violations(samples, sign=-1.0)[0] > 0


def _swapped(original):
    def mutant(*args):
        found = original(*args)
        return found._replace(low=found.high, high=found.low)

    return mutant


MUTANTS = {
    "bounds of A swapped": (slabs, "average", _swapped),
    "A taken to fall with e for every z": (
        average,
        "steepest",
        lambda original: lambda z, power: np.zeros_like(z),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_exact_points_expose_mutants(monkeypatch, samples, name):
    where, attribute, change = MUTANTS[name]
    monkeypatch.setattr(where, attribute, change(getattr(where, attribute)))
    assert face_violations(samples)[0] > 0


def term_violations() -> int:
    """How often phi(mu) at exact points of an interval is beyond its bounds there."""
    rng = np.random.default_rng(4)
    beyond = 0
    for _ in range(60):
        power, e, zeta = int(rng.choice([3, 5, 7])), rng.uniform(0.2, 1.5), rng.uniform(0, 1)
        ends = np.sort(rng.uniform(0.01, 2.2 / e, 2))
        term = average.Multiplier(power, np.array(e), np.array(zeta))
        low, high = term.least(*ends), term.largest(*ends)
        e_, zeta_ = Fraction(e), Fraction(zeta)
        inner = [Fraction((1 - z) / e) for z in (zeta, -zeta)]
        for mu in (*map(Fraction, ends), *inner, *map(Fraction, rng.uniform(ends[0], ends[1], 3))):
            if ends[0] <= mu <= ends[1]:
                value = (1 - (1 - mu * e_) ** power) / e_ - power * zeta_ ** (power - 1) * mu
                beyond += not Fraction(float(low)) <= value <= Fraction(float(high))
    return beyond


def test_terms_are_bounded_with_their_inner_extremes(monkeypatch):
    assert term_violations() == 0
    original = average.Multiplier._at

    def without(self, z, mu_lo, mu_hi):
        value, outside = original(self, z, mu_lo, mu_hi)
        return value, np.ones_like(outside)

    monkeypatch.setattr(average.Multiplier, "_at", without)
    assert term_violations() > 20


@pytest.mark.parametrize("own", [0, 1])
def test_mu_faces_hold_their_own_term(own):
    """On the face of mu_j its own term of A is that of the face, not of the whole box.

    A mutant with the whole box would be sound but loose, so samples cannot expose it. Here mu_j
    is wide, all else thin: the bound must be the rate itself, to the width of the rest.
    """
    model, thin = Model(7, 4, 1.0), 1e-7
    face_at = (2.5, 1.0)[own]  # the upper and the lower end of mu_3 in [1, 2.5]
    box = np.array([[0.5, 0.5, 0.01, 0.01, 1.0, 2.5, 4 - face_at, 4 - face_at]])
    slab = slabs.Slabs(
        np.array([0.2]),
        np.array([0.2 * (1 + thin)]),
        box,
        box,
        np.array([[0.4, 0.4]]),
        np.ones((1, 2)),
    )
    with np.errstate(all="ignore"):
        _, faces = slabs.tube_bounds(model, slab, 1, 1)
    face = next(f for f in faces if f.name == "mu_3" and f.upper == (own == 0))
    point = (mpf(0.2), mpf(0.5), mpf(0.01), [mpf(face_at), mpf(4 - face_at)])
    exact = float(exact_state(model, point)["rates"]["mu_3"]) * float(slab.to[0] - slab.from_[0])
    assert abs(face.bound[0] - exact) < 1e-5 * abs(exact)
    # The mutant: A over the whole box instead.
    mean = average.average(
        model, np.array([[0.4]]), np.array([[0.4]]), 1, (box[:, 4::2], box[:, 5::2]), slab.zeta
    )
    assert mean.high[0, 0, 0] - mean.low[0, 0, 0] > 0.01 * mean.low[0, 0, 0]
