"""Gradient matching against direct computations in NumPy, with controls that must fail."""

from __future__ import annotations

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.poison.batch import Batch, check_batch
from ssmbias.poison.groups import Block, allocate, check_groups, count_groups, equal_groups
from ssmbias.poison.matching import (
    Brewed,
    brew,
    matching_objective,
    mean_gradient,
    per_example_gradients,
    poisoned,
)
from ssmbias.poison.matching_config import MatchingConfig
from ssmbias.poison.perturbation import perturbation_bounds, project, random_perturbation
from ssmbias.poison.weighting import late_share, position_weights

LENGTH = 6
SHORT = MatchingConfig(budget=0.3, steps=30, restarts=3)


def logistic(params, x, y):
    """Linear logistic loss for a label of -1 or 1; nan where the first input exceeds `limit`.

    `scale`, `mask` and `limit` are numbers without a gradient, not settings: so one compiled
    attack serves many tests.
    """
    scale, mask, limit = (
        jax.lax.stop_gradient(params[name]) for name in ("scale", "mask", "limit")
    )
    loss = jnp.logaddexp(0.0, -y * (params["w"] @ (mask * x) + params["b"]))
    return loss * jnp.where(x[0] > limit, jnp.nan, scale)


def teacher(x):
    """The sign of the sum, for a batch."""
    return jnp.where(x.sum(1) > 0, 1, -1)


def make(seed: int, num: int = 4, num_targets: int = 6) -> tuple[dict, Batch, Batch]:
    rng = np.random.default_rng(seed)
    params = {"b": rng.normal(), "w": rng.normal(size=LENGTH)}
    params |= {"scale": 1.0, "mask": np.ones(LENGTH), "limit": np.inf}
    sets = [
        Batch(jnp.asarray(rng.normal(size=(n, LENGTH))), jnp.asarray(rng.choice([-1, 1], n)))
        for n in (num, num_targets)
    ]
    return jax.tree.map(jnp.asarray, params), *sets


PARAMS, POISONS, TARGETS = make(0)
KEY = jax.random.key(0)

# Static arguments are hashed, so tests with the same functions share what was compiled.
run = jax.jit(brew, static_argnames=("loss", "config", "relabel", "augment"))
objective_of = jax.jit(matching_objective, static_argnames="loss")
draw = jax.jit(random_perturbation, static_argnames="config")
share = jax.jit(late_share, static_argnames=("last", "image"))


def numpy_gradient(params: dict, inputs, labels) -> np.ndarray:
    """-y s(-y z) (x, 1), averaged, with s the logistic function."""
    x = np.asarray(inputs)
    y = np.asarray(labels, float)
    z = x @ np.asarray(params["w"]) + float(params["b"])
    each = (-y / (1 + np.exp(y * z)))[:, None] * np.column_stack([x, np.ones(len(x))])
    return each.mean(0)


def numpy_objective(params, inputs, labels, targets, target_labels=None) -> float:
    left = numpy_gradient(params, inputs, labels)
    wanted = targets.labels if target_labels is None else target_labels
    right = numpy_gradient(params, targets.inputs, wanted)
    right = -right if target_labels is None else right
    return 1 - left @ right / np.linalg.norm(left) / np.linalg.norm(right)


def numpy_slope(params, inputs, labels, targets) -> np.ndarray:
    """Central differences of step 1e-5: error about 1e-10 (truncation) and 1e-11 (rounding)."""
    inputs, slope = np.array(inputs), np.zeros(inputs.shape)
    for at in np.ndindex(inputs.shape):
        ends = []
        for shift in (1e-5, -1e-5):
            moved = inputs.copy()
            moved[at] += shift
            ends.append(numpy_objective(params, moved, labels, targets))
        slope[at] = (ends[0] - ends[1]) / 2e-5
    return slope


def test_objective_is_one_minus_the_cosine() -> None:
    for seed in range(3):
        params, poisons, targets = make(seed)
        expected = numpy_objective(params, *poisons, targets)
        # A few dozen operations on numbers of order one.
        np.testing.assert_allclose(
            objective_of(logistic, params, poisons, targets), expected, rtol=0, atol=1e-13
        )
        other = -targets.labels
        found = objective_of(logistic, params, poisons, targets, other)
        expected_targeted = numpy_objective(params, *poisons, targets, other)
        np.testing.assert_allclose(found, expected_targeted, rtol=0, atol=1e-13)
        assert abs(expected - expected_targeted) > 1e-3  # control: the two goals differ
    # With true labels as goal the sign of the targets' gradient is flipped: c and -c.
    flipped = objective_of(logistic, PARAMS, POISONS, TARGETS, TARGETS.labels)
    straight = objective_of(logistic, PARAMS, POISONS, TARGETS)
    np.testing.assert_allclose(flipped, 2 - straight, rtol=0, atol=1e-13)


def test_slope_of_the_objective_by_finite_differences() -> None:
    def objective(delta):
        changed = Batch(POISONS.inputs + delta, POISONS.labels)
        return matching_objective(logistic, PARAMS, changed, TARGETS)

    slope = jax.jit(jax.grad(objective))(np.zeros((4, LENGTH)))
    expected = numpy_slope(PARAMS, *POISONS, TARGETS)
    np.testing.assert_allclose(slope, expected, rtol=0, atol=1e-9)
    assert np.abs(expected).max() > 1e-2  # control: the tolerance is far below the values


def test_group_gradient_is_the_mean_over_examples() -> None:
    each = jax.jit(per_example_gradients, static_argnums=0)(logistic, PARAMS, POISONS)
    assert each["w"].shape == (4, LENGTH)
    whole = jax.jit(mean_gradient, static_argnums=0)(logistic, PARAMS, POISONS)
    for leaf in ("w", "b"):
        np.testing.assert_allclose(each[leaf].mean(0), whole[leaf], rtol=0, atol=1e-15)
    np.testing.assert_allclose(
        np.append(whole["w"], whole["b"]), numpy_gradient(PARAMS, *POISONS), rtol=0, atol=1e-15
    )
    assert np.std(each["w"], axis=0).max() > 0.1  # control: examples differ


def test_complex_parameters_count_as_two_real_ones() -> None:
    def complex_loss(w, x, y):
        return jnp.real(w[0] * jnp.exp(1j * x[0])) + jnp.abs(w[1] - x[1]) ** 2 * y

    def real_loss(w, x, y):
        return complex_loss(w[0] + 1j * w[1], x, y)

    w = np.array([[0.3, -0.5], [0.7, 0.2]])
    found = objective_of(complex_loss, w[0] + 1j * w[1], POISONS, TARGETS)
    expected = objective_of(real_loss, w, POISONS, TARGETS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_first_update_is_one_signed_step_of_every_group() -> None:
    """With groups, a teacher and an augmentation; Adam's first step is rate / (1 + 1e-8)."""

    def mirror(key, x):
        return -x[::-1]

    config = replace(SHORT, steps=1, restarts=1, init_scale=0.0, learning_rate=1e-3)
    found = run(
        KEY,
        logistic,
        PARAMS,
        POISONS,
        TARGETS,
        config,
        groups=equal_groups(6, 4, 2),
        relabel=teacher,
        augment=mirror,
    )
    # The teacher labels what is trained on before the augmentation, which keeps labels.
    inputs, given = np.asarray(POISONS.inputs), np.asarray(POISONS.labels)
    labels = np.where(inputs.sum(1) > 0, 1, -1)
    steps, values, controls = [], [], []
    for t, p in (([0, 1, 2], [0, 1]), ([3, 4, 5], [2, 3])):
        part = Batch(*(np.asarray(x)[t] for x in TARGETS))
        slope = numpy_slope(PARAMS, -inputs[p, ::-1], labels[p], part)
        steps.append(1e-3 * np.sign(slope)[:, ::-1])
        values.append(numpy_objective(PARAMS, -inputs[p, ::-1], labels[p], part))
        controls.append(numpy_slope(PARAMS, -inputs[p, ::-1], given[p], part)[:, ::-1])
    np.testing.assert_allclose(found.delta, np.concatenate(steps), rtol=1e-7)
    np.testing.assert_allclose(found.history, [np.mean(values)], rtol=0, atol=1e-13)
    # Controls: with the given labels, without the augmentation, or as one group, it is another.
    signs = np.sign(found.delta)
    assert np.any(np.sign(np.concatenate(controls)) != signs)
    assert np.any(-np.sign(numpy_slope(PARAMS, inputs, labels, TARGETS)) != signs)
    whole = numpy_slope(PARAMS, -inputs[:, ::-1], labels, TARGETS)[:, ::-1]
    assert np.any(np.sign(whole) != signs)


def test_rate_falls_at_the_published_steps() -> None:
    config = MatchingConfig(budget=1.0, learning_rate=1.0)
    rates = np.array([config.schedule(count) for count in (0, 92, 93, 155, 156, 217, 218, 249)])
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-14)
    assert float(replace(config, steps=1).schedule(0)) == 1.0  # it never falls before a step
    # .0977 for pixels over a deviation of .247 and a budget of 16/255.
    assert MatchingConfig(budget=16 / 255 / 0.247).rate == pytest.approx(0.0977, rel=1e-12)


def effect(brewed: Brewed) -> tuple[float, float]:
    """Objective, and by how much a training step on the poison raises the targets' loss."""
    batch = poisoned(brewed, POISONS)
    step = numpy_gradient(PARAMS, *batch)
    step = 1e-3 * step / np.linalg.norm(step)
    w, b = np.asarray(PARAMS["w"]), float(PARAMS["b"])
    x, y = np.asarray(TARGETS.inputs), np.asarray(TARGETS.labels)
    losses = [
        np.logaddexp(0, -y * (x @ w + b)).mean() for w, b in ((w - step[:-1], b - step[-1]), (w, b))
    ]
    return numpy_objective(PARAMS, *batch, TARGETS), losses[0] - losses[1]


def test_objective_falls_and_rises_with_the_goal_flipped() -> None:
    found = run(KEY, logistic, PARAMS, POISONS, TARGETS, SHORT)
    config = replace(SHORT, box=(-3.0, 3.0), init="uniform")
    support = np.arange(LENGTH) >= 2
    flipped = run(
        KEY,
        logistic,
        PARAMS,
        POISONS,
        TARGETS,
        config,
        target_labels=TARGETS.labels,
        support=support,
    )
    start, rise_before = effect(Brewed(jnp.zeros((4, LENGTH)), KEY, KEY, KEY))
    (objective, rise), (control, rise_flipped) = effect(found), effect(flipped)
    assert objective < start - 0.1
    assert control > start + 0.1
    # What it is for: training on the poison raises the targets' loss more (less) than before.
    assert rise > rise_before > rise_flipped
    # The final objective is that of the perturbation that is returned.
    np.testing.assert_allclose(found.objective[found.kept], objective, rtol=0, atol=1e-13)
    np.testing.assert_allclose(flipped.objective[flipped.kept], 2 - control, rtol=0, atol=1e-13)
    # Budget and support.
    for brewed in (found, flipped):
        assert np.abs(brewed.delta).max() <= 0.3
        assert np.all(np.abs(np.asarray(brewed.delta)[:, 2:]).max(1) > 0)
    np.testing.assert_array_equal(np.asarray(flipped.delta)[:, :2], 0.0)
    assert np.abs(np.asarray(found.delta)[:, :2]).max() > 0.1  # control
    edge = Batch(jnp.clip(4 * POISONS.inputs, -3, 3), POISONS.labels)
    boxed = run(
        KEY, logistic, PARAMS, edge, TARGETS, config, target_labels=TARGETS.labels, support=support
    )
    assert np.abs(poisoned(boxed, edge).inputs).max() == 3.0
    assert np.abs(np.asarray(edge.inputs + found.delta)).max() > 3.0  # control


def test_best_restart_is_kept() -> None:
    found = run(KEY, logistic, PARAMS, POISONS, TARGETS, SHORT)
    assert found.objective.shape == (3,)
    assert found.history.shape == (30,)
    assert int(found.kept) == int(np.argmin(found.objective))
    assert np.ptp(found.objective) > 1e-6  # control: they differ
    expected = numpy_objective(PARAMS, POISONS.inputs + found.delta, POISONS.labels, TARGETS)
    np.testing.assert_allclose(np.min(found.objective), expected, rtol=0, atol=1e-13)


def test_a_restart_that_fails_is_not_kept() -> None:
    # The first element starts between -.3 and .3, has no slope, and fails above .29.
    poisons = Batch(POISONS.inputs.at[:, 0].set(0.0), POISONS.labels)
    targets = Batch(TARGETS.inputs.at[:, 0].set(0.0), TARGETS.labels)
    params = PARAMS | {"limit": 0.29, "mask": (jnp.arange(LENGTH) > 0).astype(float)}
    failed = []
    for seed in range(6):
        found = run(jax.random.key(seed), logistic, params, poisons, targets, SHORT)
        bad = np.isnan(found.objective)
        failed.append(bad.sum())
        if not bad.all():
            assert float(found.objective[found.kept]) == np.nanmin(found.objective)
            assert np.all(np.isfinite(found.delta))
    assert any(0 < num < 3 for num in failed)  # control: some do fail


def test_zero_and_tiny_gradients_are_harmless() -> None:
    flat = run(KEY, logistic, PARAMS | {"scale": 0.0}, POISONS, TARGETS, SHORT)
    assert np.all(np.isfinite(flat.delta))
    np.testing.assert_array_equal(flat.objective, 1.0)
    np.testing.assert_array_equal(flat.history, 1.0)
    # Squares of such gradients underflow; a power of two changes no digit.
    tiny = run(KEY, logistic, PARAMS | {"scale": 2.0**-600}, POISONS, TARGETS, SHORT)
    plain = run(KEY, logistic, PARAMS, POISONS, TARGETS, SHORT)
    np.testing.assert_array_equal(tiny.delta, plain.delta)
    np.testing.assert_array_equal(tiny.history, plain.history)
    assert not np.array_equal(plain.delta, flat.delta)  # control


def test_single_precision_stays_single() -> None:
    single = jax.tree.map(lambda x: x if x.dtype == int else x.astype(np.float32), make(0))
    found = jax.eval_shape(lambda *args: brew(KEY, logistic, *args, SHORT), *single)
    assert {x.dtype for x in found[:3]} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("box", [None, (0.1, 0.9), (-7.3, 0.1), (-0.1, 1e3)])
def test_projection_is_exact(dtype, box) -> None:
    rng = np.random.default_rng(0)
    low, high = box or (-1.0, 1.0)
    bottom, top = dtype(low), dtype(high)
    inputs = np.clip(rng.uniform(low, high, (2000, 3)).astype(dtype), bottom, top)
    budget = 0.7 * (high - low)
    config = MatchingConfig(budget=budget, box=box)

    @jax.jit
    def ends(inputs, delta):
        found = project(delta, perturbation_bounds(inputs, config))
        return found, inputs + found

    for sign in (1, -1):
        delta, changed = (np.asarray(x) for x in ends(inputs, np.full_like(inputs, sign * 1e9)))
        assert delta.dtype == dtype
        assert np.abs(delta.astype(np.float64)).max() <= budget
        np.testing.assert_array_equal(changed, inputs + delta)
        if box is None:
            continue
        assert changed.min() >= bottom
        assert changed.max() <= top
        # No further from the bound than a few roundings of the larger of the two.
        bound = top if sign > 0 else bottom
        near = np.abs(delta) < 0.99 * budget
        slack = 4 * np.finfo(dtype).eps * (abs(low) + abs(high))
        np.testing.assert_allclose(changed[near], bound, rtol=0, atol=slack)
    if box == (-7.3, 0.1):  # control: the plain difference does leave the box
        assert np.any(inputs + (top - inputs) > top)


def test_labels_are_never_changed() -> None:
    assert "labels" not in Brewed._fields
    for labels in (POISONS.labels, jnp.array([0.1, np.pi, -0.0, 1e300])):
        given = Batch(POISONS.inputs, labels)
        brewed = Brewed(POISONS.inputs / 3, jnp.zeros(1), jnp.zeros(1), jnp.array(0))
        batch = poisoned(brewed, given)
        assert batch.labels.dtype == labels.dtype
        assert np.asarray(batch.labels).tobytes() == np.asarray(labels).tobytes()
        np.testing.assert_array_equal(batch.inputs, POISONS.inputs + POISONS.inputs / 3)


SEEDS = replace(SHORT, steps=12, restarts=2, keep="best")


def test_the_teacher_labels_what_was_found() -> None:
    zeros = Batch(jnp.zeros((4, LENGTH)), jnp.zeros(4, int))
    # Zero inputs with a budget: the perturbation is the whole sequence.
    found = run(KEY, logistic, PARAMS, zeros, TARGETS, SEEDS, relabel=teacher)
    batch = poisoned(found, zeros, teacher)
    expected = np.where(np.asarray(found.delta).sum(1) > 0, 1, -1)
    np.testing.assert_array_equal(batch.labels, expected)
    assert batch.labels.dtype == zeros.labels.dtype
    assert set(expected) == {-1, 1}  # control: not one label for all
    # The search itself used these labels.
    np.testing.assert_allclose(
        found.objective[found.kept],
        numpy_objective(PARAMS, found.delta, expected, TARGETS),
        rtol=0,
        atol=1e-13,
    )


def test_the_best_on_the_way_can_be_kept() -> None:
    zeros = Batch(jnp.zeros((4, LENGTH)), jnp.zeros(4, int))
    gains = []
    for key in jax.random.split(KEY, 8):
        found = run(key, logistic, PARAMS, zeros, TARGETS, SEEDS, relabel=teacher)
        labels = np.where(np.asarray(found.delta).sum(1) > 0, 1, -1)
        objective = numpy_objective(PARAMS, found.delta, labels, TARGETS)
        np.testing.assert_allclose(found.objective[found.kept], objective, rtol=0, atol=1e-13)
        assert objective <= np.min(found.history) + 1e-13
        gains.append(float(found.history[-1]) - objective)
    assert max(gains) > 0.01  # control: some search ends above its best


def test_many_seeds_at_once_equal_one_by_one() -> None:
    keys = jax.random.split(KEY, 3)
    data = [make(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *data)

    def one(key, params, poisons, targets):
        return brew(key, logistic, params, poisons, targets, SEEDS, relabel=teacher)

    together = jax.jit(jax.vmap(one))(keys, *stacked)
    for i, (params, poisons, targets) in enumerate(data):
        alone = run(keys[i], logistic, params, poisons, targets, SEEDS, relabel=teacher)
        # Sums in another order; only a slope of about 1e-16 could take another sign.
        np.testing.assert_allclose(together.delta[i], alone.delta, rtol=0, atol=1e-12)
        np.testing.assert_allclose(together.objective[i], alone.objective, rtol=0, atol=1e-12)
        assert together.kept[i] == alone.kept
    deltas = np.asarray(together.delta)
    assert np.abs(deltas[0] - deltas[1]).max() > 1e-2  # control: seeds differ


@pytest.mark.slow
def test_groups_in_one_batch_or_one_by_one() -> None:
    config = replace(SHORT, steps=5, restarts=1, num_groups=3)
    found = run(KEY, logistic, PARAMS, POISONS, TARGETS, config)
    for at_once in (2, 3):
        other = replace(config, groups_at_once=at_once)
        delta = run(KEY, logistic, PARAMS, POISONS, TARGETS, other).delta
        # Five steps of .1; only a slope of about 1e-16 could take another sign.
        np.testing.assert_allclose(found.delta, delta, rtol=0, atol=1e-12)


def test_allocation_by_hand() -> None:
    losses = np.array([0.2, 0.9, 5.0, 0.4, 0.4, 3.0, 0.1])
    correct = np.array([True, True, False, True, True, False, True])
    # Right and hardest first: 1, then 3 and 4 (tie), 0, 6; then the wrong ones 2 and 5.
    found = allocate(losses, correct, 9, group_size=2, high_fraction=3 / 7, high_poisons=5 / 9)
    listed = [
        (t, p)
        for block in found
        for t, p in zip(block.targets.tolist(), block.poisons.tolist(), strict=True)
    ]
    assert listed == [
        ([1, 3], [0, 1, 2]),
        ([4], [3, 4]),
        ([0, 6], [5, 6]),
        ([2, 5], [7, 8]),
    ]
    # Control: by loss alone the wrong ones would come first.
    wrong = allocate(losses, np.ones(7, bool), 9, group_size=2)
    assert wrong[0].targets[0].tolist() == [2, 5]
    many = jax.vmap(lambda x: allocate(x, correct, 9, group_size=2)[0].targets)(
        jnp.stack([losses, -losses])
    )
    assert many.tolist() == [[[1, 3]], [[6, 0]]]


def test_published_allocation() -> None:
    rng = np.random.default_rng(0)
    losses, correct = rng.exponential(size=3000), rng.random(3000) < 0.8
    found = allocate(losses, correct, 10_000, group_size=50)
    shapes = [(block.targets.shape, block.poisons.shape) for block in found]
    assert shapes == [((20, 50), (20, 250)), ((40, 50), (40, 125))]
    high = np.asarray(found[0].targets).ravel()
    assert correct[high].all()
    assert losses[high].min() >= losses[correct & ~np.isin(np.arange(3000), high)].max()
    assert np.array_equal(np.ravel(found[0].poisons), np.arange(5000))
    check_groups(found, 3000, 10_000)


def test_groups_are_numpys_array_split() -> None:
    for targets, poisons, num in itertools.product((4, 5, 7), (4, 6, 11), (1, 2, 3, 4)):
        found = equal_groups(targets, poisons, num)
        check_groups(found, targets, poisons)
        assert count_groups(found) == num
        for field, size in (("targets", targets), ("poisons", poisons)):
            rows = [row.tolist() for block in found for row in getattr(block, field)]
            assert rows == [part.tolist() for part in np.array_split(np.arange(size), num)]


@pytest.mark.parametrize("weighting", ["late", pytest.param("early", marks=pytest.mark.slow)])
def test_through_the_sign_a_penalty_acts_only_where_the_slope_is_small(weighting) -> None:
    config = replace(SHORT, weighting=weighting)  # of the published strength, 1e-7
    free = np.arange(LENGTH) >= 4 if weighting == "late" else np.arange(LENGTH) < 2

    def brewed(mask, config):
        params = PARAMS | {"mask": jnp.asarray(mask)}
        found = run(KEY, logistic, params, POISONS, TARGETS, config)
        return np.asarray(found.delta)

    # The loss does not see element 3.
    mask = np.where(np.arange(LENGTH) == 3, 0.0, 1.0)
    plain, weighted = brewed(mask, SHORT), brewed(mask, config)
    # Slopes of order .01 against 2e-7 · 5 · .3: where it looks not one bit changes, ...
    np.testing.assert_array_equal(weighted[:, mask > 0], plain[:, mask > 0])
    # ... and where it does not, the same penalty takes the perturbation towards zero: at first by
    # steps of .11 to and fro, in the end by a few of .0001.
    assert np.abs(weighted[:, 3]).max() < 0.25 * np.abs(plain[:, 3]).max()
    # Slopes of order 1e-10 at the penalised elements: now it moves all to the other end.
    mask = np.where(free, 1.0, 1e-8)
    plain, weighted = brewed(mask, SHORT), brewed(mask, config)
    if weighting == "early":
        plain, weighted = plain[:, ::-1], weighted[:, ::-1]
    assert float(share(weighted, last=2).share) > 0.95
    assert float(share(plain, last=2).share) < 0.9  # control


def test_weights_of_positions_and_of_rows() -> None:
    np.testing.assert_array_equal(position_weights("late", (5, 2))[:, 1], [4, 3, 2, 1, 0])
    np.testing.assert_array_equal(
        position_weights("early", (5, 2)), position_weights("late", (5, 2))[::-1]
    )
    rows = position_weights("rows", (1024, 3))
    for plane, i, j in itertools.product(range(3), (0, 5, 31), (0, 17, 31)):
        flat = plane * 1024 + 32 * i + j
        assert rows[flat // 3, flat % 3] == 31 - i
    # The trap: the published weighting is not the late one; step 341 ends the red plane.
    assert rows[340, 0] == 0
    assert rows[342, 0] == 31
    np.testing.assert_array_equal(rows.ravel(), position_weights("rows", (3, 32, 32)).ravel())


def test_late_share_and_its_reference() -> None:
    delta = np.random.default_rng(0).uniform(-1, 1, (100, 1024, 3))
    for last, image, reference in ((2, None, np.sqrt(2 / 1024)), (1, (3, 32, 32), np.sqrt(1 / 32))):
        found = share(delta, last=last, image=image)
        assert found.uniform == pytest.approx(reference, rel=1e-15)
        # A sum of six squares has a relative deviation of .37, its root .18; the root of the mean
        # lies 2 % above the mean of roots. The mean of 100: .018.
        assert float(found.share) == pytest.approx(reference, rel=0.02 + 4 * 0.018)
    assert found.uniform == pytest.approx(0.177, abs=5e-4)  # as published
    flat = np.zeros((1, 3072))
    flat[0, [31 * 32, 5]] = 3.0, 4.0  # last and first row of the red plane
    assert float(share(flat.reshape(1, 1024, 3), last=1, image=(3, 32, 32)).share) == 0.6
    assert float(share(flat.reshape(1, 1024, 3), last=1).share) == 0.0
    # Squares of small numbers do not vanish.
    tiny = np.array([[3e-30, 4e-30]], np.float32)
    assert float(share(tiny).share) == pytest.approx(0.8, rel=1e-6)
    assert np.isnan(share(np.zeros((2, 4))).share)


def test_random_perturbations_of_the_same_size() -> None:
    rng = np.random.default_rng(0)
    poisons = Batch(jnp.asarray(rng.uniform(size=(5, 40))), jnp.zeros(5))
    config = MatchingConfig(budget=0.1)
    like = 0.1 * rng.choice([-1.0, 1.0], (5, 40)) * np.array([1, 0.95, 0.5, 1e-4, 0])[:, None]
    found = draw(KEY, poisons, config, like=like)
    assert np.abs(np.asarray(found)).max() <= 0.1
    norms = np.linalg.norm(found, axis=1)
    # Sums of 40 squares, then a root.
    np.testing.assert_allclose(norms, np.linalg.norm(like, axis=1), rtol=1e-13)
    # Control: a random direction of the norm, merely clipped, loses much of it.
    other = rng.normal(size=(5, 40))
    clipped = np.clip(
        other * np.linalg.norm(like, axis=1)[:, None] / np.linalg.norm(other, axis=1)[:, None],
        -0.1,
        0.1,
    )
    assert np.linalg.norm(clipped[0]) < 0.95 * norms[0]
    # Only on the support, and within the box.
    support = np.arange(40) >= 30
    late = draw(
        jax.random.key(1),
        poisons,
        replace(config, box=(0.0, 1.0)),
        like=like * support,
        support=support,
    )
    late = np.asarray(late)
    np.testing.assert_array_equal(late[:, :30], 0.0)
    changed = np.asarray(poisons.inputs) + np.asarray(late)
    assert changed.min() >= 0
    assert changed.max() <= 1
    np.testing.assert_allclose(
        np.linalg.norm(late[2:], axis=1), np.linalg.norm((like * support)[2:], axis=1), rtol=1e-13
    )
    plain = draw(jax.random.key(2), poisons, config)
    # 200 uniform numbers: their mean square is 1/3 of the budget's, give or take .3/sqrt(200).
    assert float(np.mean(np.square(plain))) == pytest.approx(0.01 / 3, rel=0.25)
    assert 0.09 < np.abs(np.asarray(plain)).max() <= 0.1


def call(**changes):
    """`brew` with one argument replaced, up to the check that must stop it."""
    args = {
        "key": KEY,
        "loss": logistic,
        "params": PARAMS,
        "poisons": POISONS,
        "targets": TARGETS,
        "config": SHORT,
    }
    return brew(**(args | changes))


CLASSES = replace(SHORT, num_classes=2)
ONES = Batch(POISONS.inputs, jnp.ones(4, int))


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: MatchingConfig(budget=0), "budget=0: must be greater than 0"),
        (lambda: MatchingConfig(budget=-0.1), "budget=-0.1"),
        (lambda: MatchingConfig(budget=float("nan")), "budget=nan"),
        (lambda: MatchingConfig(0.1, steps=0), "steps=0"),
        (lambda: MatchingConfig(0.1, restarts=0), "restarts=0"),
        (lambda: MatchingConfig(0.1, learning_rate=0.0), "learning_rate=0.0"),
        (lambda: MatchingConfig(0.1, keep="first"), "keep='first'"),
        (lambda: MatchingConfig(0.1, init="ones"), "init='ones'"),
        (lambda: MatchingConfig(0.1, init_scale=-1), "init_scale=-1"),
        (lambda: MatchingConfig(0.1, weighting="last"), "weighting='last': choose one of none"),
        (lambda: MatchingConfig(0.1, weighting_strength=0), "weighting_strength=0"),
        (lambda: MatchingConfig(0.1, decay_steps=(93,)), "decay_steps=93"),
        (lambda: MatchingConfig(0.1, box=(1, 0)), "the lower bound must come first"),
        (lambda: MatchingConfig(0.1, image=(32, 32)), "image="),
        (lambda: MatchingConfig(0.1, num_classes=1), "num_classes=1"),
        (lambda: call(targets=Batch(jnp.zeros((0, LENGTH)), jnp.zeros(0))), "at least one example"),
        (lambda: call(targets=Batch(jnp.zeros((2, 5)), jnp.ones(2))), "the same network"),
        (lambda: call(poisons=Batch(POISONS.inputs, jnp.ones(3))), "one label an example"),
        (lambda: call(poisons=Batch(jnp.ones((2, 6), int), jnp.ones(2))), "dtype int64"),
        (lambda: call(poisons=Batch(POISONS.inputs * np.nan, jnp.ones(4))), "must be finite"),
        (lambda: call(config=CLASSES), "poisons.labels=-1: labels must be integers in 0..1"),
        (lambda: call(config=CLASSES, poisons=ONES), "targets.labels=-1"),
        (
            lambda: call(
                config=CLASSES,
                poisons=ONES,
                targets=ONES,
                target_labels=jnp.full(4, 2),
            ),
            "target_labels=2",
        ),
        (lambda: check_batch("x", Batch(POISONS.inputs, jnp.ones(4)), 2), "x.labels has dtype"),
        (lambda: call(target_labels=jnp.ones(5)), r"target_labels has shape \(5,\)"),
        (lambda: call(loss=lambda p, x, y: x), "expected a real scalar"),
        (lambda: call(relabel=lambda x: x), "relabel gives"),
        (lambda: call(config=replace(SHORT, num_groups=5)), "5 group"),
        (lambda: call(config=replace(SHORT, box=(0.0, 0.1))), "lies outside"),
        (lambda: call(config=replace(SHORT, weighting="rows")), "size of one input"),
        (lambda: call(support=jnp.ones(5, bool)), "support is bool"),
        (lambda: call(support=jnp.ones(6)), "support is float64"),
        (lambda: call(support=jnp.zeros(6, bool)), "support: is empty"),
        (lambda: call(groups=()), "groups have shapes"),
        (
            lambda: call(groups=(Block(jnp.array([[0]]), jnp.array([[0, 1, 2]])),)),
            "groups hold 3 poisons of 4",
        ),
        (
            lambda: call(groups=(Block(jnp.array([[0]]), jnp.array([[0, 1, 2, 2]])),)),
            "exactly one group",
        ),
        (
            lambda: call(groups=(Block(jnp.array([[6]]), jnp.array([[0, 1, 2, 3]])),)),
            "indices in 0..5",
        ),
        (lambda: allocate(np.ones(0), np.ones(0, bool), 3, group_size=1), "at least one"),
        (lambda: allocate(np.ones(3), np.ones(3), 3, group_size=1), "pass booleans"),
        (lambda: allocate(np.ones(9), np.ones(9, bool), 3, group_size=1), "more poisons"),
        (
            lambda: allocate(np.ones(3), np.ones(3, bool), 3, group_size=1, high_fraction=2),
            "high_fraction=2",
        ),
        (
            lambda: poisoned(
                Brewed(jnp.zeros((2, 4, 6)), jnp.zeros(1), jnp.zeros(1), jnp.array(0)), POISONS
            ),
            "one seed at a time",
        ),
        (lambda: late_share(np.ones((2, 4)), 5), "last=5"),
        (
            lambda: random_perturbation(KEY, POISONS, SHORT, like=np.ones((4, 5))),
            "like has shape",
        ),
    ],
)
def test_bad_input_is_named(make_it, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_it()
