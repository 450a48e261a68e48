"""B1: Theorem 1, clean training generalises and poisoned training does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ssmbias.certify.widest import RELS, widest_box
from ssmbias.dynamics import Trajectory
from ssmbias.evidence import Bench, Claim, Kind, Premise, Row
from ssmbias.metrics import effective_rank, generalization_error
from ssmbias.subjects.accuracy import Twice, solver_tolerance
from ssmbias.subjects.theorem1 import Theorem1, limits, path, simulate_twice, starts
from ssmbias.theory import clean_limit, poison_bound, strong_poison_limit

_BOXES = 2
"""Starts that a box is certified around; each takes some seconds."""


class Boxes(NamedTuple):
    """The widest certified boxes around the first starts [start].

    Attributes:
      widths: half widths of the gaps, relative to them; 0 where none was certified.
      proved: poisoned errors proved for all starts of the box.
    """

    widths: tuple[float, ...]
    proved: tuple[float, ...]


class TheoremRuns(NamedTuple):
    """Limits without and with poison, boxes, and the first trajectories of both arms, if kept."""

    clean: Twice
    poisoned: Twice
    boxes: Boxes
    paths: dict[str, Trajectory]


def measure(subject: Theorem1, bench: Bench) -> TheoremRuns:
    """Limits at ρ = 0 and 1, boxes around the first starts, and trajectories for the figures."""
    return TheoremRuns(
        limits(subject, bench, (0.0,)),
        limits(subject, bench, (1.0,)),
        _boxes(subject, starts(subject)),
        {"clean": path(subject, bench, 0.0), "poisoned": path(subject, bench, 1.0)},
    )


def measure_far_from_tied(subject: Theorem1, bench: Bench) -> TheoremRuns:
    """The control: starts whose second entry is a tenth of the first, no near-tie."""
    a0, _ = starts(subject)
    a0 = np.concatenate([a0[:, :1], 0.1 * a0[:, 1:]], axis=1)
    start = a0, np.log(a0[:, 0] - a0[:, 1])
    return TheoremRuns(
        limits(subject, bench, (0.0,)),
        simulate_twice(subject, start, (1.0,), bench.rtol, name="control start"),
        _boxes(subject, start),
        {},
    )


def predict(subject: Theorem1, runs: TheoremRuns) -> float:
    """The bound; the theorem's constant is defined for κ >= 7 only."""
    return float(poison_bound(subject.state_dim, subject.seq_len)) if _long(subject) else np.nan


def _errors(subject: Theorem1, ends: Twice) -> tuple[np.ndarray, float]:
    """Normalised errors [seed] of limits at one strength, and the solver's part in them."""
    error = jax.vmap(lambda a: generalization_error(a, subject.horizon))
    measured = np.asarray(error(ends.a[:, 0]))
    tight = np.asarray(error(np.asarray(ends.tight.a)[:, 0]))
    return measured, solver_tolerance(float(np.max(np.abs(measured - tight))))


def compare(subject: Theorem1, bound: float, runs: TheoremRuns) -> list[Row]:
    """Part (ii) against the bound, part (i) against part (ii), and what is proved for boxes."""
    clean_errors, clean_noise = _errors(subject, runs.clean)
    errors, noise = _errors(subject, runs.poisoned)
    smallest = float(errors.min())
    return [
        Row(
            quantity="poisoned error / d at least the bound (values: bound, smallest error)",
            predicted=bound,
            measured=smallest,
            residual=float(np.max(bound - errors)),
            tolerance=-noise,
            derivation="the bound minus the error must be negative by more than the solver's error",
            margin=smallest / bound,
            count=runs.poisoned.count,
        ),
        # (i): with the same starts, clean training ends at zero loss with a smaller error.
        Row(
            quantity="clean error / d below poisoned (values: smallest poisoned, ε reached)",
            predicted=smallest,
            measured=float(clean_errors.max()),
            residual=float(np.max(clean_errors - errors)),
            tolerance=-(noise + clean_noise),
            derivation="clean minus poisoned error, start by start, must be negative by more than "
            "the solver's error",
            count=runs.clean.count + runs.poisoned.count,
        ),
        *_box_rows(subject, bound, runs.boxes),
    ]


def _boxes(subject: Theorem1, start: tuple[np.ndarray, np.ndarray]) -> Boxes:
    """How wide a box can be certified around each of the first starts, and the error proved."""
    # Where a premise is not met the rows are inconclusive whatever could be proved.
    if not all(premise.check(subject, None).holds for premise in PREMISES):
        return Boxes((), ())
    widths, proved = [], []
    for a, log_gap in zip(start[0][:_BOXES], start[1][:_BOXES], strict=True):
        second, *rest = np.sort(a)[::-1][1:]
        gaps = second - np.array(rest)
        found = widest_box(second, float(np.exp(log_gap)), gaps, subject.seq_len)
        widths.append(found.rel)
        proved.append(found.certificate.poisoned_error_lower if found.rel else 0.0)
    return Boxes(tuple(widths), tuple(proved))


def _box_rows(subject: Theorem1, bound: float, boxes: Boxes) -> list[Row]:
    def row(quantity: str, least: float, found: float, why: str) -> Row:
        return Row(
            quantity=quantity,
            predicted=least,
            measured=found,
            residual=least - found,
            tolerance=0.0,
            derivation=f"{why} (docs/certificates.md)",
            margin=found / least,
        )

    named = ", ".join(f"{subject.first_seed + i}: {rel:g}" for i, rel in enumerate(boxes.widths))
    return [
        row(
            "poisoned error / d proved for whole boxes of starts at least the bound "
            "(values: bound, least proved)",
            bound,
            min(boxes.proved, default=np.nan),
            "what is proved has no error",
        ),
        row(
            f"half width of the gaps in certified boxes at least {RELS[0]:g} of them "
            "(values: that, least over the starts)",
            RELS[0],
            min(boxes.widths, default=np.nan),
            f"largest certified width by seed: {named or 'none'}",
        ),
    ]


def arrays(subject: Theorem1, bound: float, runs: TheoremRuns) -> Mapping[str, Any]:
    """Margins and ε of each start, boxes, and the first start's trajectories, for the figures."""
    errors, clean_errors = (_errors(subject, x)[0] for x in (runs.poisoned, runs.clean))
    a0, log_gap = starts(subject)
    ends = {
        "clean": clean_limit(a0[0], subject.seq_len, log_gap=log_gap[0]),
        "poisoned": strong_poison_limit(a0[0], subject.seq_len, log_gap=log_gap[0]),
    }
    found: dict[str, Any] = {
        "error/margin": errors / bound,
        "error/epsilon": clean_errors,
        "error/poisoned_rho1/measured": errors,
        "error/bound": bound,
        "error/certified_rel": np.array(runs.boxes.widths),
        "error/certified": np.array(runs.boxes.proved),
    }
    for arm, every in runs.paths.items():
        first = jax.tree.map(lambda x: np.asarray(x)[0], every)
        found |= {
            f"trajectory/{arm}/time": first.time,
            f"trajectory/{arm}/a": first.a,
            f"trajectory/{arm}/gamma": first.gamma,
            f"trajectory/{arm}/effective_rank": jax.vmap(effective_rank)(first.a),
            f"trajectory/{arm}/limit": ends[arm],
        }
    return found


def _long(subject: Theorem1) -> bool:
    return subject.seq_len >= 7


PREMISES = (
    Premise(
        "the two largest entries are nearly, not exactly, tied",
        lambda s, runs: (
            0 < s.gap <= 0.01 * s.init_scale,
            f"gap / init_scale = {s.gap / s.init_scale:.1e}",
        ),
    ),
    # Below a_1^p the clean flow, too, keeps both entries (docs/theory.md, M1).
    Premise(
        "the gap is far above a_1^p",
        lambda s, runs: (
            s.gap >= 100 * s.init_scale ** (s.seq_len - 2),
            f"gap = {s.gap:.1e}, init_scale^p = {s.init_scale ** (s.seq_len - 2):.1e}",
        ),
    ),
    Premise(
        "the start is small",
        lambda s, runs: (
            s.init_scale <= 0.1 / s.state_dim,
            f"init_scale = {s.init_scale:g}, d = {s.state_dim}",
        ),
    ),
    Premise("κ is odd and at least 7", lambda s, runs: (_long(s), f"κ = {s.seq_len}")),
    Premise(
        "d exceeds the teacher's dimension 2",
        lambda s, runs: (s.state_dim >= 3, f"d = {s.state_dim}"),
    ),
)

CLAIMS = (
    Claim(
        id="B1",
        title="Theorem 1: clean generalises, poisoned does not",
        statement=r"\frac1d \max_{l<H} |h_l - h_l^*| \ge "
        r"\min\left\{ \tfrac1{10}, \tfrac1{9d} \right\} \left( 1 - 0.6^{1/(\kappa-1)} \right) "
        r"\text{ poisoned,} \quad \text{and smaller, } \varepsilon \text{, clean}",
        kind=Kind.BOUND,
        reference="Slutzky et al. (2025), arXiv:2410.10473, Theorem 1 (constant as transcribed)",
        control="poisoned runs from starts whose second entry is a tenth of the first",
        subject=Theorem1,
        measure=measure,
        predict=predict,
        wrong_measure=measure_far_from_tied,
        compare=compare,
        premises=PREMISES,
        arrays=arrays,
        family="theorem 1",
        cost=15.0,
    ),
)
