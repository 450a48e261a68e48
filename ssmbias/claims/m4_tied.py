"""M4: where poisoned flow ends when the m largest entries are tied."""

from __future__ import annotations

import numpy as np

from ssmbias.evidence import Bench, Claim, Kind, Premise, Row
from ssmbias.subjects.accuracy import SOLVER_DERIVATION, Twice, solver_tolerance
from ssmbias.subjects.theorem1 import Theorem1, simulate_twice
from ssmbias.theory import tied_limit


def _starts(subject: Theorem1) -> tuple[np.ndarray, np.ndarray]:
    """For each multiplicity m = 1..d-1 a start with m equal entries, and d-m smaller equal ones."""
    d, scale = subject.state_dim, subject.init_scale
    rank = np.arange(d)
    high = np.linspace(0.6, 1.0, d - 1) * scale
    a0 = np.stack([np.where(rank <= m, high[m], 0.4 * high[m]) for m in range(d - 1)])
    gap = a0[:, 0] - a0[:, 1]
    return a0, np.where(gap > 0, np.log(np.where(gap > 0, gap, 1.0)), -np.inf)


def measure(subject: Theorem1, bench: Bench) -> Twice:
    """Limits at ρ = 1 for every multiplicity."""
    return simulate_twice(subject, _starts(subject), (1.0,), bench.rtol, name="multiplicity")


def _limits(subject: Theorem1, multiplicities: list[int]) -> np.ndarray:
    """Limits [multiplicity, state] of m = 1..d-1 tied entries, by the law of `multiplicities`."""
    d = subject.state_dim
    rows = []
    for m, claimed in zip(range(1, d), multiplicities, strict=True):
        alpha, beta = tied_limit(d, subject.seq_len, claimed)
        rows.append([alpha] * m + [beta] * (d - m))
    return np.array(rows)


def predict(subject: Theorem1, runs: Twice) -> np.ndarray:
    """Limits [multiplicity, state]."""
    return _limits(subject, list(range(1, subject.state_dim)))


def wrong(subject: Theorem1, runs: Twice) -> np.ndarray:
    """Those of another multiplicity."""
    d = subject.state_dim
    return _limits(subject, [m % (d - 1) + 1 for m in range(1, d)])


def compare(subject: Theorem1, predicted: np.ndarray, runs: Twice) -> Row:
    """Compare all entries of the limit for every multiplicity."""
    measured = runs.a[:, 0]
    return Row(
        quantity="tied limits for m = 1..d-1, all entries (values: α at m = d-1)",
        predicted=float(predicted[-1, 0]),
        measured=float(measured[-1, 0]),
        # Absolute differences: beta is 0 for m = 1.
        residual=float(np.max(np.abs(measured - predicted))),
        tolerance=solver_tolerance(runs.absolute_error()),
        derivation=SOLVER_DERIVATION,
        count=runs.count,
    )


def _stay_equal(subject: Theorem1, runs: Twice) -> tuple[bool, str]:
    ends = runs.a[:, 0]
    tied = np.array([np.ptp(ends[m, : m + 1]) for m in range(len(ends))])
    return bool(np.all(tied == 0)), f"largest difference {tied.max():.1e}"


_WIDE = Premise(
    "d is at least 3, so that there are two multiplicities",
    lambda subject, runs: (subject.state_dim >= 3, f"d = {subject.state_dim}"),
)

CLAIMS = (
    Claim(
        id="M4",
        title="Tied starts, poisoned limit",
        statement=r"a(\infty) = (\alpha^{\times m}, \beta^{\times(d-m)}): \quad "
        r"m\alpha + (d-m)\beta = 1, \quad m\alpha^{\kappa-1} + (d-m)\beta^{\kappa-1} = 1, \quad "
        r"\alpha > \beta",
        kind=Kind.LIMIT,
        reference="derivation in docs/theory.md (M4)",
        control="the limits of another multiplicity",
        subject=Theorem1,
        measure=measure,
        predict=predict,
        wrong=wrong,
        compare=compare,
        premises=(_WIDE, Premise("entries that start equal stay equal", _stay_equal)),
        family="limits",
        cost=1.0,
    ),
)
