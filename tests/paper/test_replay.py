"""Replays of the paper's runs: the short ones here, all of them with `make test-all`.

The exported runs are described in tests/data/README.md.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssmbias
from ssmbias.evidence import Verdict
from ssmbias.paper import load_original, replay_loss
from ssmbias.paper.replay_compare import Replayed, compare, is_oscillating

REPLAYS = Path(__file__).parents[1] / "data" / "replays"
# About a thousand steps each, one for each kind of run.
SHORT = (
    "poison_ssm_len6_d10_seed201_special",
    "dyn_ssm_len6_d10_seed105_special",
    "dyn_dim2_len6_d10_seed302_special",
    "poison_nn_len6_d10_seed4541_special",
)
# Oscillating to and fro at their end: see docs/experiments.md.
UNSTEADY = {
    "dyn_ssm_len6_d10_seed105_nospecial",
    "dyn_ssm_len6_d10_seed105_special",
    "dyn_ssm_len10_d20_seed4000_nospecial",
    "dyn_ssm_len10_d20_seed4000_special",
    "poison_ssm_len6_d10_seed201_nospecial",
    "poison_ssm_len6_d10_seed201_special",
}
LONG = sorted({path.stem for path in REPLAYS.glob("*.npz")} - set(SHORT))


def check(name: str) -> None:
    result = ssmbias.replay(REPLAYS / f"{name}.npz")
    assert result.name == name
    stored = np.load(REPLAYS / f"{name}.npz")
    if "run_n_iter_phase1" not in stored.files:
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "not exported" in result.reason
        return
    assert result.verdict is Verdict.HOLDS, result.reason
    assert abs(result.steps_to_eps - int(stored["run_n_iter_phase1"])) <= 2
    evals = np.concatenate([stored["run_p1_evals"], stored["run_p2_evals"]])
    assert result.a_logged.shape == evals.shape
    # Differently ordered sums in single precision: 1 % of the largest entry, as compared.
    np.testing.assert_allclose(
        result.a_logged[:3], np.sort(np.abs(evals), axis=1)[:3, ::-1], rtol=0, atol=1e-5
    )
    np.testing.assert_array_equal(result.reference["run_p2_ext"], stored["run_p2_ext"])
    assert result.reference["steps_to_eps"] == int(stored["run_n_iter_phase1"])
    np.testing.assert_array_equal(result.steps_logged, result.reference["steps_logged"])
    if name.split("_")[1] != "nn" and name not in UNSTEADY:
        assert {row.derivation for row in result.comparisons[:3]} == {"steady run"}
        assert result.train_loss == pytest.approx(float(stored["run_p2_train"][-1]), rel=0.05)
        assert result.test_error == pytest.approx(float(stored["run_p2_ext"][-1]), rel=0.01)


@pytest.mark.parametrize(
    "name",
    # Each of these takes a quarter of a minute, and most of that is its compiling.
    [
        pytest.param(name, marks=[] if name.startswith("dyn_dim2_") else [pytest.mark.slow])
        for name in SHORT
    ],
)
def test_short_runs_are_replayed(name) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_all_runs_are_replayed(name) -> None:
    check(name)


def test_a_wrong_run_is_refuted(tmp_path) -> None:
    """Controls: another step, another start, another record; each is told apart."""
    name = "poison_ssm_len6_d10_seed201_special"
    stored = dict(np.load(REPLAYS / f"{name}.npz"))
    changes = [
        ("hp_base_lr", np.float64(0.0101)),
        ("C0", stored["C0"] * np.float32(1.1)),
        ("run_n_iter_phase1", np.int64(832)),
    ]
    for key, value in changes:
        assert stored[key].shape == value.shape
        path = tmp_path / f"{key}.npz"
        np.savez(path, **(stored | {key: value}))
        result = ssmbias.replay(path)
        assert result.verdict is Verdict.VIOLATED, key
        assert "difference" in result.reason


@pytest.mark.slow
def test_the_dense_gradient_is_that_of_automatic_differentiation() -> None:
    original = load_original(REPLAYS / "poison_ssm_len6_d10_seed201_special.npz")
    params = {name: jnp.asarray(v, jnp.float64) * 3 for name, v in original.start.items()}
    data = replay_loss.ReplayData(
        jnp.asarray(original.inputs[:, ::-1]), jnp.asarray(original.outputs, jnp.float64)
    )

    def dense_loss(a, b, c):
        """The recurrence with a dense transition matrix, as the original runs it."""
        state = jnp.zeros((len(original.inputs), a.shape[0]))
        for k in range(original.inputs.shape[1]):
            state = state @ a + original.inputs[:, k : k + 1] * b[None]
        return jnp.mean((state @ c - data.outputs) ** 2)

    dense = jax.grad(dense_loss, argnums=(0, 1, 2))(jnp.diag(params["a"]), params["b"], params["c"])
    norm = sum(float(jnp.linalg.norm(g)) for g in dense)
    found = replay_loss.gradient(params, data)
    assert float(found.norm) == pytest.approx(norm, rel=1e-12)
    diagonal = sum(float(jnp.linalg.norm(g)) for g in found.gradient.values())
    assert abs(diagonal / norm - 1) > 0.01  # control: the off-diagonal entries count


@pytest.mark.slow
def test_without_copies_unsteady_runs_are_inconclusive() -> None:
    result = ssmbias.replay(REPLAYS / "dyn_ssm_len6_d10_seed105_special.npz", num_copies=0)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "num_copies" in result.reason


class TestTolerances:
    """Controls of the comparison itself, on made-up runs."""

    def compared(self, copies_steps, *, outcome=0, steps=2700, tail=1.0):
        def one(steps, outcome=0):
            a = np.linspace(1.0, 0.9, 3)[:, None]
            logged = np.array([1, 101, 1])
            return Replayed(
                np.int32(outcome), np.int32(steps), 1e-3, 0.1, a, logged,
                np.full(3, 1e-3), np.full(3, 0.1) * np.array([1.0, tail, 1.0]),
            )  # fmt: skip

        many = [one(*s) if isinstance(s, tuple) else one(s) for s in copies_steps]
        copies = Replayed(*(np.stack(x) for x in zip(*many, strict=True)))
        reference = {
            "steps_to_eps": 2702, "train_loss": 1e-3, "test_error": 0.1,
            "a_logged": np.linspace(1.0, 0.9, 3)[:, None], "steps_logged": np.array([1, 101, 1]),
        }  # fmt: skip
        return compare(one(steps, outcome), one(steps, outcome), copies, reference, "adam")

    def test_agreement_holds(self) -> None:
        assert self.compared([2700] * 7)[1] is Verdict.HOLDS

    def test_a_copy_that_did_not_get_there_does_not_widen_anything(self) -> None:
        rows, verdict, _ = self.compared([2690] * 6 + [(1_000_000, 3)], steps=2690)
        assert verdict is Verdict.VIOLATED
        assert rows[0].tolerance == 2.0

    def test_a_wide_spread_confirms_nothing(self) -> None:
        rows, verdict, reason = self.compared([2000, 2200, 2400, 2600, 2800, 3000], steps=2600)
        assert rows[0].within is None
        assert verdict is Verdict.INCONCLUSIVE
        assert "not judged" in reason

    def test_a_run_that_did_not_get_there_is_inconclusive(self) -> None:
        rows, verdict, reason = self.compared([2700] * 7, outcome=3)
        assert (rows, verdict) == ((), Verdict.INCONCLUSIVE)
        assert "did not reach eps" in reason

    def test_logs_of_different_length_are_matched_by_their_steps(self) -> None:
        rows, verdict, _ = self.compared([2700] * 7, steps=2701)
        assert verdict is Verdict.HOLDS
        assert "3 of 3 in both" in rows[-1].quantity


def test_oscillation_needs_moves_in_both_directions() -> None:
    assert not is_oscillating(np.array([1.0, 0.9, 0.8]), 0.01)
    assert not is_oscillating(np.array([1.0, 1.005, 1.0]), 0.01)
    assert is_oscillating(np.array([1.0, 1.05, 1.0]), 0.01)


def test_bad_files_are_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        ssmbias.replay(tmp_path / "missing.npz")
    garbage = tmp_path / "garbage.npz"
    garbage.write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match="not a readable archive"):
        ssmbias.replay(garbage)
    cut = tmp_path / "cut.npz"
    shutil.copy(REPLAYS / "poison_ssm_len6_d10_seed201_special.npz", cut)
    cut.write_bytes(cut.read_bytes()[:5000])
    with pytest.raises(ValueError, match="not a readable archive"):
        ssmbias.replay(cut)
    other = tmp_path / "other.npz"
    np.savez(other, a=np.ones(3))
    with pytest.raises(ValueError, match="lacks A0"):
        ssmbias.replay(other)
    stored = dict(np.load(REPLAYS / "poison_ssm_len6_d10_seed201_special.npz"))
    np.savez(other, **(stored | {"optimizer": np.str_("RMSprop")}))
    with pytest.raises(ValueError, match="optimizer 'RMSprop'"):
        ssmbias.replay(other)
