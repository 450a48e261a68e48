"""The descents that claims share: what they start from, and what makes their rows inconclusive."""

from __future__ import annotations

import numpy as np
import pytest

from ssmbias.evidence import Bench, Count, Row, Verdict, check, judge
from ssmbias.evidence.registry import by_id, claims_of_package
from ssmbias.statistics.fits import fit_order
from ssmbias.subjects import Descents, FreeFlows
from ssmbias.subjects.descents import COMPARED, RELATIVE_SIZES, descents, order_row
from ssmbias.subjects.free_flows import free_runs

ORDERS = {"I3-descent": 1, "I5-descent": 0, "M7-order": 0}
"""Claims with fitted orders, and the row at which these begin."""


CLAIMS = by_id(claims_of_package("ssmbias.claims"))
FLOWS = FreeFlows("t7", 7, 10, first_seed=242, num_seeds=3)
SUBJECT = Descents("t7", FLOWS)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(SUBJECT)


@pytest.mark.slow
def test_rungs_meet_the_flow_exactly(bench):
    made = descents(SUBJECT, bench)
    flows = free_runs(FLOWS, bench.on(FLOWS))
    saved = np.asarray(flows.result.trajectory.time).reshape(6, -1)
    for rung, relative in zip(made.rungs, RELATIVE_SIZES, strict=True):
        assert np.all(np.frexp(rung.step_size)[0] == 0.5)  # powers of two
        np.testing.assert_array_equal(rung.step_size, relative * made.rungs[0].step_size)
        times = rung.step_size[:, None] * rung.compared
        np.testing.assert_array_equal(times[:, -1], made.duration)
        for row, known in zip(times, saved, strict=True):
            assert set(row) | set(0.5 * row) <= set(known)
        assert rung.loss.shape == (6, COMPARED[-1] / relative + 1)
        np.testing.assert_array_equal(rung.model.a[:, 0], made.start.a)
    # Close to the flow from the first step size on, within a tenth of the way.
    for name in ("a", "b", "c"):
        start, flow = (np.asarray(getattr(x, name)) for x in (made.start, made.flow))
        at = getattr(made.rungs[0].model, name)[:, made.rungs[0].compared]
        way = np.linalg.norm(flow - start[:, None])
        assert np.linalg.norm(at - flow) < 0.1 * way


def _altered(bench: Bench, **changes) -> Bench:
    """A bench whose descents are the same but for what is named."""
    other = Bench(SUBJECT)
    made = descents(SUBJECT, bench)._replace(**changes)
    other.once("descents", lambda: made)
    return other


def _verdict(row: Row) -> Verdict:
    return judge(row.residual, row.tolerance, row.premises, row.count)[0]


@pytest.mark.parametrize("id", ORDERS)
@pytest.mark.slow
def test_steps_that_are_too_long_make_orders_inconclusive(bench, id):
    rows = check(CLAIMS[id], SUBJECT, _altered(bench, resolution=2.5))
    for number, row in enumerate(rows):
        expected = Verdict.INCONCLUSIVE if number >= ORDERS[id] else Verdict.HOLDS
        assert row.verdict is expected, row


@pytest.mark.parametrize("id", [*ORDERS, "I1-descent"])
def test_runs_that_failed_make_all_rows_inconclusive(bench, id):
    for row in check(CLAIMS[id], SUBJECT, _altered(bench, count=Count(36, 1, "not finite"))):
        assert row.verdict is Verdict.INCONCLUSIVE
        assert "not finite" in row.reason


def test_errors_that_vanish_or_scatter_have_no_order(bench):
    made = descents(SUBJECT, bench)
    errors = np.tile(RELATIVE_SIZES, (6, 1))
    row = order_row(made, "q", errors, 1.0)
    assert _verdict(row) is Verdict.HOLDS
    errors[2, 3] = 0.0
    assert _verdict(order_row(made, "q", errors, 1.0)) is Verdict.INCONCLUSIVE
    # Exponents from 0.5 to 1.5: the interval contains 1, and is too wide to say anything.
    wide = np.stack([RELATIVE_SIZES**k for k in np.linspace(0.5, 1.5, 6)])
    row = order_row(made, "q", wide, 1.0)
    assert _verdict(row) is Verdict.INCONCLUSIVE
    assert "narrower" in row.premises[0].statement
    # The same interval refutes order 3.
    assert _verdict(order_row(made, "q", wide, 3.0)) is Verdict.VIOLATED


def test_another_reference_widens_the_interval(bench):
    made = descents(SUBJECT, bench)
    errors = np.tile(RELATIVE_SIZES, (6, 1))
    row = order_row(made, "q", errors, 1.0, also=errors**1.01, because="x")
    assert row.fit is not None
    assert row.fit.high - row.fit.low == pytest.approx(0.04, rel=1e-6)
    assert row.derivation.endswith("plus x")


def test_order_is_turned_from_the_exponent():
    fit = fit_order(RELATIVE_SIZES, np.stack([RELATIVE_SIZES**2 * (1 + 0.3 * RELATIVE_SIZES)]), 1.0)
    assert fit.low <= 2.0 <= fit.high
    assert not fit.low <= fit.expected <= fit.high
