"""Certificates for the limit of strong poison (docs/certificates.md, Strong poison)."""

import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from certify import tampering

from ssmbias.certify import check
from ssmbias.certify.box import default_box, require_flow
from ssmbias.certify.catalogue import CASES
from ssmbias.certify.certificate import ProverOptions, certify
from ssmbias.certify.check.__main__ import theorem
from ssmbias.certify.prover.entry import entry_box
from ssmbias.certify.samples import box_points, follow, outside
from ssmbias.certify.second_check import recheck
from ssmbias.theory import strong_poison_limit

INF = math.inf
QUICK = ProverOptions(step=0.01, forks=0)
BOXES = {
    3: default_box(3, rel=0.2, delta=(5e-9, 5.5e-9)),
    4: default_box(4, rel=0.1, delta=(1e-8, 1.1e-8)),
}


@pytest.fixture(scope="module")
def certificates():
    return {dim: certify(box, 7, INF, options=QUICK) for dim, box in BOXES.items()}


@pytest.fixture(scope="module")
def proof(certificates, tmp_path_factory):
    """The log for d = 4."""
    return certificates[4].save(tmp_path_factory.mktemp("strong") / "proof.gz")


@pytest.fixture(scope="module")
def lines(proof):
    return tampering.read_lines(proof)


def predicted_error(point: tuple, seq_len: int) -> float:
    """Error / d of the limit that M2 predicts: another integration, in other coordinates."""
    a2, delta, gaps = point
    start = np.array([a2 + delta, a2, *(a2 - gaps)])
    limit = strong_poison_limit(jnp.asarray(start), seq_len, log_gap=math.log(delta))
    sums = np.sum(np.asarray(limit)[:, None] ** np.arange(1, 20), axis=0)
    return float(np.max(np.abs(sums - 1))) / len(start)


def refusals(path: Path) -> tuple[str, str]:
    """Why the two checkers refuse a log; empty where one accepts it."""
    return check(path).reason, recheck(path).reason


@pytest.mark.parametrize("dim", [3, 4])
def test_limits_lie_within_the_bounds(certificates, dim):
    cert = certificates[dim]
    assert cert.certified, cert.reason
    samples = [follow(point, 7, INF) for point in box_points(BOXES[dim], 5, seed=0)]
    errors = [sample.error for sample in samples]
    assert cert.poisoned_error_lower <= min(errors) <= max(errors) <= cert.poisoned_error_upper
    # The bracket is worth something, and trajectories keep to the tube.
    assert cert.poisoned_error_lower >= 0.9 * min(errors)
    assert cert.poisoned_error_upper <= 1.1 * max(errors)
    compared = [outside(sample, cert.slabs) for sample in samples]
    assert sum(out for out, _ in compared) == 0
    assert sum(num for _, num in compared) > 500
    # Control: from three times the leading gap they leave it.
    a2, delta, gaps = box_points(BOXES[dim], 1, seed=0)[0]
    assert outside(follow((a2, 3 * delta, gaps), 7, INF), cert.slabs)[0] > 50


@pytest.mark.parametrize("dim", [3, 4])
def test_the_predicted_limit_lies_within_the_bounds(certificates, dim):
    cert = certificates[dim]
    for point in box_points(BOXES[dim], 3, seed=1):
        error = predicted_error(point, 7)
        assert cert.poisoned_error_lower <= error <= cert.poisoned_error_upper
        # Two integrations of the logarithms of gaps, some 20, to relative 1e-10 or so each: δ, and
        # with it the error, to a few 1e-9.
        assert error == pytest.approx(follow(point, 7, INF).error, rel=1e-7)


def test_limits_at_finite_strength_tend_to_the_strong_limit():
    point = box_points(BOXES[4], 3, seed=0)[2]
    strong = follow(point, 7, INF).error
    at = {rho: abs(follow(point, 7, rho).error - strong) for rho in (1e2, 1e3, 1e4)}
    # The difference is c/ρ + O(ln ρ/ρ²), the second term about 1e-3 of the first at ρ = 100: ten
    # times less per decade. The samples' own error, some 1e-9, is 1e-3 of the last difference.
    assert at[1e2] / at[1e3] == pytest.approx(10, rel=0.01)
    assert at[1e3] / at[1e4] == pytest.approx(10, rel=0.01)


def test_both_checkers_prove_the_same(certificates, proof, lines):
    assert lines[3] == "strength inf"
    report, other = check(proof), recheck(proof)
    assert report.valid, report.reason
    assert other.valid, other.reason
    assert report.strength == INF
    for name in ("clean_error_upper", "poisoned_error_lower", "poisoned_error_upper"):
        claim = getattr(certificates[4], name)
        assert getattr(report, name) == claim
        # `recheck` reports its own bound, which the claim has to allow for.
        sign = -1 if name.endswith("lower") else 1
        assert sign * getattr(other, name) <= sign * claim
    text = theorem(report)
    assert "limit of the poisoned flow" in text
    assert "as rho -> infinity" in text
    assert "inf," not in text
    assert "infinity" not in theorem(report._replace(strength=1.0))


def test_the_jump_leaves_the_gaps_alone():
    box = BOXES[4]
    entry, finite = entry_box(box, 7, INF), entry_box(box, 7, 1.0)
    assert entry is not None
    assert finite is not None
    low, high = box.gaps
    # The image of the box, up to the entry box's widening by 1e-9.
    assert entry.clock == pytest.approx((sum(low) / 4, sum(high) / 4), rel=1e-8)
    ends = 4 * box.delta[0] / sum(high), 4 * box.delta[1] / sum(low)
    assert entry.state[:, 0] == pytest.approx(ends, rel=1e-8)
    assert entry.state[0, 2] == pytest.approx(4 * low[0] / (low[0] + high[1]), rel=1e-8)
    # Control: at strength 1 phase 0 takes time, and gaps grow meanwhile.
    assert finite.clock[1] > entry.clock[1] * (1 + 1e-3)


def test_an_infinite_strength_is_no_finite_one(lines, certificates, tmp_path):
    finite = certify(BOXES[4], 7, 1.0, options=QUICK)
    text = tampering.read_lines(finite.save(tmp_path / "finite.gz"))
    for name, relabelled, word, reason in (
        ("finite as inf", text, "inf", "w"),
        ("inf as 1", lines, "0x1p+0", ""),
        ("inf as 1e300", lines, (1e300).hex(), "w"),
        ("inf as -inf", lines, "-inf", ""),
        ("inf as nan", lines, "nan", ""),
        ("inf as INF", lines, "INF", ""),
        ("inf as infinity", lines, "infinity", ""),
        ("two fields", lines, "inf inf", ""),
    ):
        path = tampering.write_lines(
            tmp_path / "proof.gz", [*relabelled[:3], f"strength {word}", *relabelled[4:]]
        )
        for refusal in refusals(path):
            assert refusal, name
            assert reason in refusal, name
    # Nowhere else may a number be infinite.
    for at in [*range(5, 12), next(k for k, x in enumerate(lines) if x.startswith("slab "))]:
        fields = lines[at].split(" ")
        text = [*lines[:at], " ".join([fields[0], "inf", *fields[2:]]), *lines[at + 1 :]]
        assert all(refusals(tampering.write_lines(tmp_path / "proof.gz", text))), lines[at][:30]


def test_tampered_faces_are_rejected(lines, tmp_path):
    slabs = tampering.slabs_of(lines)
    some = next(s for s in slabs[len(slabs) // 4 :] if s.end[1] > s.start[1] * (1 + 1e-9))

    def changed(entry: int, value: float) -> list[str]:
        return tampering.edit(lines, some.index, 6 + entry, lambda _: value)

    def mixed(entry: int, part: float) -> float:
        return some.end[entry] * (1 - part) + some.end[entry + 1] * part

    wide, _ = tampering.edit_named(lines, "gaps_to", 1, lambda x: x * 1.1)
    for name, text in (
        ("g.hi", changed(1, some.start[1] + 0.9 * (some.end[1] - some.start[1]))),
        ("g.lo", changed(0, mixed(0, 0.1))),
        ("mu_3.lo", changed(4, mixed(4, 0.1))),
        ("mu_3.hi", changed(5, mixed(4, 0.9))),
        ("w.hi", changed(3, 1e-300)),
        ("w", tampering.edit(changed(3, 1e-9), some.index, 8, lambda _: 1e-9)),
        ("slab removed", [*lines[: some.index], *lines[some.index + 1 :]]),
        ("D_3.hi", wide),
        ("jump of w", [*lines[: some.index], "jump 3 0x1p-40", *lines[some.index :]]),
        ("claim", tampering.with_claim(lines, "poisoned_error_lower", 0.2)[0]),
    ):
        assert all(refusals(tampering.write_lines(tmp_path / "proof.gz", text))), name
    # Control: a jump of w to where it is changes nothing.
    text = [*lines[: some.index], "jump 3 0x0.0p+0", *lines[some.index :]]
    assert refusals(tampering.write_lines(tmp_path / "proof.gz", text)) == ("", "")


def test_only_a_positive_strength_is_taken():
    require_flow(BOXES[4], 7, INF)
    for strength in (math.nan, 0.0, -1.0, -INF):
        with pytest.raises(ValueError, match="strength"):
            certify(BOXES[4], 7, strength)


@pytest.mark.slow
def test_strong_limit_of_ten_entries():
    box = CASES[0].box  # κ = 7, d = 10, rel 0.1
    found = {rho: certify(box, 7, rho) for rho in (10.0, 1000.0, INF)}
    assert all(cert.certified for cert in found.values())
    # Limits at finite strength differ by O(1/ρ), a per cent at ρ = 10; the tubes differ in where
    # slabs are cut, which moves bounds by a few per mille (the pieces of g on the last slabs).
    strong = found[INF]
    for rho, rel in ((10.0, 0.03), (1000.0, 0.005)):
        for name in ("poisoned_error_lower", "poisoned_error_upper"):
            assert getattr(found[rho], name) == pytest.approx(getattr(strong, name), rel=rel)
    errors = [predicted_error(point, 7) for point in box_points(box, 6, seed=2)]
    assert strong.poisoned_error_lower <= min(errors)
    assert max(errors) <= strong.poisoned_error_upper
