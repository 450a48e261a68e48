"""Speed of the experiment on CIFAR-10: updates a second and utilisation, by model and precision.

An update is a batch of 64 images: looking up, shifts and flips, forward, backward, AdamW. Updates
run on the device in one call, as in an epoch. Utilisation is the rate of an update's operations,
as XLA counts them before optimisation, over that of a large matrix product of the same precision,
measured in the same run; FFTs and norms count, so it says how far the update is from arithmetic
alone. A slope of the attack is timed against a training gradient of the same images; the estimate
of a full run uses that ratio (`ssmbias.poison.training.estimate.BREW_COST`).

    python benchmarks/cifar.py                     # one CPU core; minutes
    python benchmarks/cifar.py --quick             # a smoke run: small networks
    python benchmarks/cifar.py --device gpu        # the first GPU
    python benchmarks/cifar.py --models s4d --dtypes bfloat16 float32
"""

from __future__ import annotations

import argparse
import functools
from typing import Any

import common  # pins the process to one core, so before JAX and NumPy
import jax
import jax.numpy as jnp

from ssmbias.poison.arms.registry import require_arms, with_needed
from ssmbias.poison.batch import Batch
from ssmbias.poison.cifar.settings import DTYPES, MODELS, FullSettings
from ssmbias.poison.search.objective import matching_objective, mean_gradient
from ssmbias.poison.training.estimate import BREW_COST, counts, example_of, measure_step
from ssmbias.poison.training.minibatches import loss_of, start

SMALL: dict[str, Any] = {"channels": 16, "num_layers": 1, "state_dim": 8, "batch_size": 8}


def matmul_rate(dtype: str, quick: bool, platform: str) -> float:
    """Operations a second of a large matrix product."""
    size = 512 if quick else 2048 if platform == "cpu" else 8192
    x = jnp.ones((size, size), dtype)
    job = jax.jit(lambda x: x @ x)
    jax.block_until_ready(job(x))
    return 2 * size**3 / min(common.seconds(lambda: job(x), 3))


def attack_over_gradient(settings: FullSettings, num: int) -> dict[str, float]:
    """Time and memory of a slope of the attack over those of a gradient, in single precision."""
    experiment = settings.experiment()
    state = start(experiment, 0, example_of(experiment))
    key = jax.random.key(0)
    images = jax.random.uniform(key, (num, 32, 32, 3), jnp.float32)
    batch = Batch(images, jnp.arange(num, dtype=jnp.int32) % 10)

    def loss(params: Any, image: jax.Array, label: jax.Array) -> jax.Array:
        return loss_of(experiment, params, state.stats, image, label)

    @jax.jit
    def gradient(params: Any, batch: Batch) -> Any:
        return mean_gradient(loss, params, batch)

    @jax.jit
    def slope(params: Any, batch: Batch) -> Any:
        def objective(inputs: jax.Array) -> jax.Array:
            return matching_objective(loss, params, Batch(inputs, batch.labels), batch)

        return jax.grad(objective)(batch.inputs)

    found: dict[str, float] = {}
    for name, job in (("gradient", gradient), ("objective and slope", slope)):
        compiled = job.lower(state.params, batch).compile()
        run = functools.partial(compiled, state.params, batch)
        jax.block_until_ready(run())
        found[f"{name}, ms an image"] = min(common.seconds(run, 2)) / num * 1e3
        analysis: Any = compiled.memory_analysis()
        found[f"{name}, MB an image"] = analysis.temp_size_in_bytes / num / 1e6
    # The objective computes the targets' gradient too, which the attack does once only.
    slopes = found["objective and slope, ms an image"] - found["gradient, ms an image"]
    found["slope over gradient"] = slopes / found["gradient, ms an image"]
    return found


def measure(model: str, dtype: str, quick: bool, platform: str, rate: float) -> dict[str, Any]:
    """One model in one precision."""
    settings = FullSettings(model, dtype=dtype, **(SMALL if quick else {}))
    num = 2 if platform == "cpu" else 200
    experiment = settings.experiment()
    step = measure_step(experiment, num)
    assert step.seconds is not None
    arms = with_needed(experiment, require_arms(experiment, settings.arms))
    updates, slopes = counts(experiment, arms, len(settings.seeds))
    seconds = step.seconds * (updates + BREW_COST * slopes / settings.batch_size)
    return {
        "ms an update": step.seconds * 1e3,
        "updates a second": 1 / step.seconds,
        "images a second": settings.batch_size / step.seconds,
        "GFLOP an update": step.flops / 1e9,
        "GFLOP/s": step.flops / step.seconds / 1e9,
        "utilisation": step.flops / step.seconds / rate,
        "temporary memory, MB": step.temporary_bytes / 1e6,
        "hours, one training of base": updates_of_base(settings) * step.seconds / 3600,
        f"hours, all arms and {len(settings.seeds)} seeds": seconds / 3600,
    }


def updates_of_base(settings: FullSettings) -> int:
    """Updates of one training run of the base arm."""
    return settings.epochs * settings.steps_per_epoch("base")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES)
    options = parser.parse_args()
    dtypes = options.dtypes or (DTYPES[:1] if options.quick else DTYPES)
    device = jax.devices(options.device)[0]
    with jax.default_device(device):
        report: dict[str, Any] = {
            "machine": common.machine("jax", "flax", "optax"),
            "device": f"{device.platform} {device.device_kind}",
            "batch": SMALL["batch_size"] if options.quick else FullSettings().batch_size,
        }
        where = (options.quick, device.platform)
        rates = {dtype: matmul_rate(dtype, *where) for dtype in dtypes}
        report["GFLOP/s of a matrix product"] = {d: rate / 1e9 for d, rate in rates.items()}
        for model in options.models:
            report[model] = {d: measure(model, d, *where, rates[d]) for d in dtypes}
            if not options.quick:
                num = 4 if device.platform == "cpu" else 250
                report[model]["attack"] = attack_over_gradient(FullSettings(model), num)
    common.publish(report, "cifar", options.quick, options.device)


if __name__ == "__main__":
    main()
