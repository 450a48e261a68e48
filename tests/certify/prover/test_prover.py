"""The prover of certificates: rates on faces, tubes, limits, logs, and what it cannot prove."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from ssmbias.certify import check
from ssmbias.certify.box import default_box
from ssmbias.certify.catalogue import CASES
from ssmbias.certify.certificate import ProverOptions, certify
from ssmbias.certify.prover.entry import clean_bound, entry_box
from ssmbias.certify.prover.proof_log import compress
from ssmbias.certify.prover.prove import prove
from ssmbias.certify.prover.rates import face_bounds
from ssmbias.certify.prover.system import System, geometric_sum

QUICK = ProverOptions(step=4e-3, forks=0)
SMALL = default_box(4, rel=0.1, delta=(1e-8, 1.1e-8))


@pytest.fixture(scope="module")
def small():
    return certify(SMALL, 7, options=QUICK)


@pytest.fixture(scope="module")
def k7d10():
    return certify(CASES[0].box, 7)


def exact_rates(system, clock, g, w, mu):
    """d/dE of (g, w, μ), and q/(κ-1) and S_p, from the formulas of the reduced system."""
    dim, p = system.dim, system.p
    a2 = (1 + w) / dim + clock * (1 - g / dim)
    e = clock / a2
    a = np.concatenate(([a2 + g * clock, a2], a2 - mu * clock))
    area = float((mu * geometric_sum(1 - mu * e, p)).sum()) / dim
    q = 1 - (a ** (p + 1)).sum()
    force = (a**p).sum()
    loss = (force - system.strength * dim * w / ((p + 1) * q)) / (a2 ** (p - 1) * area * clock)
    shape = geometric_sum(1 - mu * e, p) / area - 1
    lead = geometric_sum(1 + g * e, p) / area - 1
    return np.concatenate(([g / clock * lead, loss], mu / clock * shape)), q, force


def on_faces(system, slab, rng, num):
    """Largest (violation, rate bound) over random points of the slab's faces with Σ μ = d."""
    low, high = np.minimum(slab.start, slab.end), np.maximum(slab.start, slab.end)
    faces = face_bounds(system, slab.span, slab.start, slab.end, slab.cuts)
    worst, points = -np.inf, 0
    for _ in range(num):
        x = rng.uniform(low[0], high[1])
        clock = rng.uniform(*slab.span)
        column, side = int(rng.integers(system.dim)), int(rng.integers(2))
        x[column] = rng.uniform(low[side, column], high[side, column])
        # Another μ makes the sum d, if it can.
        other = 2 + int(rng.integers(system.dim - 2))
        x[other] += system.dim - x[2:].sum()
        if other == column or not low[0, other] <= x[other] <= high[1, other]:
            continue
        rate, q, force = exact_rates(system, clock, x[0], x[1], x[2:])
        if q <= 0 or force <= 0 or np.isnan(faces.rate[side, column]):
            continue
        points += 1
        excess = (rate[column] - faces.rate[side, column]) * (1 if side else -1)
        worst = max(worst, excess / (abs(rate[column]) + 1e-12))
    return worst, points


def test_rates_on_faces_are_bounded(small):
    # Bounds are evaluated in float64 with about 1e3 operations: 1e-11 is ample.
    rng = np.random.default_rng(1)
    system = System(4, 7, 1.0)
    found = [on_faces(system, slab, rng, 60) for slab in small.slabs[::40]]
    assert sum(points for _, points in found) > 300
    assert max(worst for worst, _ in found) < 1e-11
    # Control: with bounds 5 % tighter some points are outside, so points do come near.
    assert max(worst for worst, _ in found) > -0.05


def poisoned_path(box, seq_len, rng):
    """A trajectory from a random start: times' (E, g, w, μ) and the final entries.

    States are log-gaps and w, so that a gap of 1e-8 keeps its digits.
    """
    dim, p = box.state_dim, seq_len - 2
    pick = [rng.uniform(*ends) for ends in (box.a2, box.delta)]
    gaps = rng.uniform(*map(np.array, box.gaps))
    start = np.concatenate((np.log([pick[1]]), np.log(gaps), [dim * pick[0] + pick[1] - 1]))
    start[-1] -= gaps.sum()

    def entries(y):
        delta, gap = np.exp(y[0]), np.exp(y[1:-1])
        a2 = (1 + y[-1] - delta + gap.sum()) / dim
        return delta, gap, np.concatenate(([a2 + delta, a2], a2 - gap))

    def rhs(_, y):
        a = entries(y)[2]
        q = (seq_len - 1) * (1 - (a ** (p + 1)).sum())
        growth = q * a[1] ** (p - 1) * geometric_sum(np.concatenate(([a[0]], a[2:])) / a[1], p)
        return np.append(growth, q * (a**p).sum() - dim * y[-1])

    done = solve_ivp(rhs, (0, 3e4), start, method="LSODA", rtol=1e-9, atol=1e-11)
    assert done.success
    clock = np.exp(done.y[1:-1]).sum(0) / dim
    state = np.vstack((np.exp(done.y[0]) / clock, done.y[-1], np.exp(done.y[1:-1]) / clock))
    return clock, state, entries(done.y[:, -1])[2]


def outside(cert, clock, state, widen=0.0):
    """How many of the points with w >= 0 no slab holds; and how many there are."""
    missed = points = 0
    spans = np.array([slab.span for slab in cert.slabs])
    for e, x in zip(clock, state.T, strict=True):
        if x[1] < 1e-9:
            continue
        points += 1
        for k in np.nonzero((spans[:, 0] <= e) & (e <= spans[:, 1]))[0]:
            slab = cert.slabs[k]
            t = (e - spans[k, 0]) / (spans[k, 1] - spans[k, 0])
            box = (1 - t) * slab.start + t * slab.end
            slack = (1e-6 - widen) * np.abs(box)
            if np.all(x >= box[0] - slack[0]) and np.all(x <= box[1] + slack[1]):
                break
        else:
            missed += 1
    return missed, points


def test_sampled_trajectories_stay_inside_and_between_the_bounds(small):
    assert small.certified, small.reason
    rng = np.random.default_rng(4)
    lags = np.arange(1, 20)
    total = shrunk = 0
    for _ in range(4):
        clock, state, last = poisoned_path(SMALL, 7, rng)
        missed, points = outside(small, clock, state)
        assert missed == 0
        total += points
        shrunk += outside(small, clock, state, widen=0.04)[0]
        error = np.abs((last ** lags[:, None]).sum(1) - 1).max() / 4
        assert small.poisoned_error_lower <= error <= small.poisoned_error_upper
        # The statement has force: the bracket is narrow.
        assert error < 1.2 * small.poisoned_error_lower
        assert error > 0.8 * small.poisoned_error_upper
    assert total > 200
    # Control: a tube that is 4 % narrower on each side loses some.
    assert shrunk > 0


def test_clean_bound_is_above_sampled_limits_and_grows_with_a_smaller_gap():
    # Closed form of the clean limit: a_j = (c_j + u)^(-1/(p-1)), S_(κ-1) = 1 by bisection on u.
    bound = clean_bound(SMALL, 7)
    rng = np.random.default_rng(5)
    for _ in range(20):
        a2, delta = rng.uniform(*SMALL.a2), rng.uniform(*SMALL.delta)
        a = np.concatenate(([a2 + delta, a2], a2 - rng.uniform(*map(np.array, SMALL.gaps))))
        c = a**-4.0 - a[0] ** -4.0
        low, high = 0.5, 10.0
        for _ in range(100):
            u = (low + high) / 2
            low, high = (u, high) if ((c + u) ** -1.5).sum() > 1 else (low, u)
        limit = (c + low) ** -0.25
        error = np.abs((limit ** np.arange(1, 20)[:, None]).sum(1) - 1).max() / 4
        assert error <= bound
        assert error > 0.5 * bound
    narrow = default_box(4, rel=0.1, delta=(1e-15, 1.1e-8))
    assert clean_bound(narrow, 7) > 5 * bound


def test_entry_box_holds_the_start_and_refuses_what_it_cannot_bound():
    entry = entry_box(SMALL, 7, 1.0)
    assert entry is not None
    low, high = (np.array(x) for x in SMALL.gaps)
    assert entry.clock[0] <= low.sum() / 4
    assert entry.clock[1] >= high.sum() / 4
    assert entry.state[0, 0] <= 4 * SMALL.delta[0] / high.sum()
    wide = default_box(3, scale=0.3, rel=0.1, delta=(1e-3, 1.1e-3))
    assert entry_box(wide, 7, 1e-6) is None
    failed = certify(wide, 7, 1e-6, options=ProverOptions(splits=0))
    assert not failed.certified
    assert "before w = 0" in failed.reason


def test_first_box_of_the_catalogue(k7d10):
    case = CASES[0]
    assert k7d10.certified, k7d10.reason
    assert k7d10.poisoned_error_lower >= case.poisoned_error
    assert k7d10.clean_error_upper <= case.clean_error
    assert k7d10.poisoned_error_lower <= case.sampled <= k7d10.poisoned_error_upper
    assert len(k7d10.log) < 1_000_000


def test_logs_are_saved_whole_reproducible_and_checked_from_disk(small, tmp_path):
    path = small.save(tmp_path / "proof.gz")
    assert path.read_bytes() == small.log
    report = check(path)
    assert report.valid
    assert report.poisoned_error_lower >= small.poisoned_error_lower
    lines = gzip.decompress(small.log).decode().splitlines()
    assert lines[0] == "ssmbias-certificate 1"
    assert lines[-1] == "qed"
    assert compress(lines) == small.log
    # Control: a claim that is a hair too strong, and a slab that is missing.
    k = next(i for i, line in enumerate(lines) if line.startswith("poisoned_error_lower"))
    name, value = lines[k].split()
    stronger = [*lines[:k], f"{name} {(float.fromhex(value) * 1.01).hex()}", *lines[k + 1 :]]
    del lines[len(lines) // 2]
    for edited in (stronger, lines):
        path = tmp_path / "edited.gz"
        path.write_bytes(compress(edited))
        assert not check(path).valid


def test_a_box_that_is_too_large_fails_with_the_slab_and_the_inequality(tmp_path):
    # The leading gap is 10 % of the entries: no tie, and the bound would be false.
    box = default_box(4, rel=0.1, delta=(5e-5, 1e-4))
    cert = certify(box, 7, options=ProverOptions(step=4e-3, forks=0, splits=1))
    assert not cert.certified
    assert "slab" in cert.reason
    assert "E =" in cert.reason
    with pytest.raises(ValueError, match="no proof"):
        cert.save(Path(tmp_path) / "none.gz")
    assert not any(tmp_path.iterdir())
    few = certify(SMALL, 7, options=ProverOptions(max_slabs=10, splits=0))
    assert "not reached by 10 slabs" in few.reason


def test_splits_and_forks_sharpen_and_are_checked():
    whole = prove(SMALL, 7, 1.0, QUICK)
    # Out of reach: the one split is used.
    options = ProverOptions(step=4e-3, forks=2, splits=1, target=1.0)
    cert = certify(SMALL, 7, options=options)
    assert cert.certified, cert.reason
    assert cert.poisoned_error_lower > whole.lower
    text = gzip.decompress(cert.log).decode()
    assert "\nsplit " in text
    assert "\nfork g " in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", 0.0),
        ("num_g", 65),
        ("num_e", 0),
        ("forks", -1),
        ("late_ratio", 1.0),
        ("target", float("nan")),
        ("splits", 1.5),
        ("fork_ratio", 0.5),
    ],
)
def test_options_are_checked(name, value):
    with pytest.raises(ValueError, match=name):
        ProverOptions(**{name: value})


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_box_of_the_catalogue(case):
    cert = certify(case.box, case.seq_len, case.strength)
    assert cert.certified, cert.reason
    assert cert.poisoned_error_lower >= case.poisoned_error
    assert cert.clean_error_upper <= case.clean_error
    assert cert.poisoned_error_lower <= case.sampled
    if case.box.state_dim <= 10:
        assert len(cert.log) < 1_000_000
