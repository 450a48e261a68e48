"""M4: where poisoned flow ends when the m largest entries are tied."""

from __future__ import annotations

import numpy as np

from ssmbias.evidence.evidence import Assumption, Claim, Evidence, Kind, judge
from ssmbias.subjects.laboratory import SOLVER_DERIVATION, Laboratory, solver_tolerance
from ssmbias.theory import tied_limit


def _starts(lab: Laboratory) -> tuple[np.ndarray, np.ndarray]:
    """For each multiplicity m = 1..d-1 a start with m equal entries, and d-m smaller equal ones."""
    d, scale = lab.setting.state_dim, lab.setting.init_scale
    rank = np.arange(d)
    high = np.linspace(0.6, 1.0, d - 1) * scale
    a0 = np.stack([np.where(rank <= m, high[m], 0.4 * high[m]) for m in range(d - 1)])
    gap = a0[:, 0] - a0[:, 1]
    return a0, np.where(gap > 0, np.log(np.where(gap > 0, gap, 1.0)), -np.inf)


def _predict(lab: Laboratory, control: bool) -> np.ndarray:
    """Limits [multiplicity, state]; the control takes those of another multiplicity."""
    d, seq_len = lab.setting.state_dim, lab.setting.seq_len
    rows = []
    for m in range(1, d):
        alpha, beta = tied_limit(d, seq_len, m)
        if control:
            alpha, beta = tied_limit(d, seq_len, m % (d - 1) + 1)
        rows.append([alpha] * m + [beta] * (d - m))
    return np.array(rows)


def check(lab: Laboratory, control: bool) -> list[Evidence]:
    """Compare all entries of the limit for every multiplicity."""
    wide = Assumption(
        "d is at least 3, so that there are two multiplicities",
        lab.setting.state_dim >= 3,
        f"d = {lab.setting.state_dim}",
    )
    a0, log_gap = _starts(lab)
    both = lab.simulate_twice(a0, log_gap, (1.0,), name="multiplicity")
    measured = both.a[:, 0]
    predicted = _predict(lab, control)
    # Absolute differences: beta is 0 for m = 1.
    residual = float(np.max(np.abs(measured - predicted)))
    tolerance = solver_tolerance(both.absolute_error())
    tied = np.array([np.ptp(measured[m, : m + 1]) for m in range(len(measured))])
    assumptions = (
        wide,
        Assumption(
            "entries that start equal stay equal",
            bool(np.all(tied == 0)),
            f"largest difference {tied.max():.1e}",
        ),
    )
    verdict, reason = judge(residual, tolerance, assumptions, both.runs)
    return [
        Evidence(
            claim="M4",
            setting=lab.setting.name,
            kind=Kind.LIMIT,
            quantity="tied limits for m = 1..d-1, all entries (values: α at m = d-1)",
            predicted=float(predicted[-1, 0]),
            measured=float(measured[-1, 0]),
            residual=residual,
            tolerance=tolerance,
            derivation=SOLVER_DERIVATION,
            verdict=verdict,
            reason=reason,
            assumptions=assumptions,
            runs=both.runs,
        )
    ]


CLAIMS = (
    Claim(
        id="M4",
        title="Tied starts, poisoned limit",
        statement=r"a(\infty) = (\alpha^{\times m}, \beta^{\times(d-m)}): \quad "
        r"m\alpha + (d-m)\beta = 1, \quad m\alpha^{\kappa-1} + (d-m)\beta^{\kappa-1} = 1, \quad "
        r"\alpha > \beta",
        kind=Kind.LIMIT,
        assumptions=("d is at least 3", "entries that start equal stay equal"),
        reference="derivation in docs/theory.md (M4)",
        control="the limits of another multiplicity",
        check=check,
    ),
)
