"""Speed of poisoned training: all seeds of F1 in one program against one seed after the other.

One seed after the other is done in two ways: by the same function compiled for one seed, whose
whole training is one program, and by the loop that training codes have, in Python around one
compiled step. All are warm: compiling counts for nothing, which favours the runs one by one. They
take turns, on one core and on two. On two every core is a device, as in `scripts/poison.py`, and
the seeds are shared out over them; a run of one seed has both cores to itself.

    python benchmarks/poison.py             # a minute; writes benchmarks/results/
    python benchmarks/poison.py --quick     # a smoke run
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from typing import Any

import common  # pins the process to one core, so before JAX and NumPy
import interleaved
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssmbias.poison.batch import Batch
from ssmbias.poison.catalogue import find_experiment
from ssmbias.poison.changes import changed
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training.lanes import Prepared, arm_weights, prepare, spread, train_arm
from ssmbias.poison.training.learner import learner_of, optimizer_of, weighted_loss
from ssmbias.poison.training.settings import Training

ARM = "late"


def trainer(experiment: Experiment, prepared: Prepared) -> Callable[[], np.ndarray]:
    """A warm job: training of all seeds in `prepared`; it answers with their losses."""
    job = functools.partial(train_arm, experiment, prepared, True, prepared.by_hand[ARM])

    def losses() -> np.ndarray:
        return np.asarray(jax.block_until_ready(job())[1])

    losses()
    return losses


def plain_loops(experiment: Experiment, ones: list[Prepared]) -> Callable[[], np.ndarray]:
    """A warm job: each seed's training as a loop over one compiled step; it answers the losses."""
    training = experiment.training
    assert isinstance(training, Training)  # on the full batch
    adam, weights = optimizer_of(training), arm_weights(experiment, True)
    loss = functools.partial(weighted_loss, learner_of(experiment))

    @jax.jit
    def step(params: Any, state: Any, batch: Batch) -> tuple[Any, Any]:
        updates, state = adam.update(jax.grad(loss)(params, batch, weights), state, params)
        return optax.apply_updates(params, updates), state

    last = jax.jit(loss)

    def losses() -> np.ndarray:
        found = []
        for one in ones:
            parts = one.problem.train, one.by_hand[ARM]
            batch = jax.tree.map(lambda *leaves: jnp.concatenate([x[0] for x in leaves]), *parts)
            params = jax.tree.map(lambda leaf: leaf[0], one.start)
            state = adam.init(params)
            for _ in range(training.steps):
                params, state = step(params, state, batch)
            found.append(float(last(params, batch, weights)))
        return np.array(found)

    losses()
    return losses


def on_cores(options: argparse.Namespace) -> dict[str, Any]:
    """All seeds at once and one by one, on a number of cores."""
    interleaved.use_cores(options.cores)
    count, repeats = (4, 1) if options.quick else (20, 7)
    experiment = changed(find_experiment("f1"), {"steps": 40} if options.quick else {})
    prepared = prepare(experiment, jnp.arange(count))
    ones = [jax.tree.map(lambda x, i=i: x[i : i + 1], prepared) for i in range(count)]
    # Before the one by one: what is compiled for devices is another program.
    jobs = {"one by one": [trainer(experiment, one) for one in ones]}
    if options.cores > 1:
        prepared = spread(prepared, count)
    together = trainer(experiment, prepared)
    single = np.concatenate([job() for job in jobs["one by one"]])
    loops = plain_loops(experiment, ones)

    def in_a_row() -> None:
        for job in jobs["one by one"]:
            job()

    turns = {
        "at once": interleaved.stopwatch(together),
        "one": interleaved.stopwatch(in_a_row),
        "steps": interleaved.stopwatch(loops),
    }
    report: dict[str, Any] = dict(interleaved.load())
    times = interleaved.in_turns(turns, repeats)
    rates = {k: [count / s for s in v] for k, v in times.items()}
    return report | {
        "seeds": count,
        "losses differ by": float(np.max(np.abs(together() / single - 1))),
        "losses of Python loops differ by": float(np.max(np.abs(loops() / single - 1))),
        "seeds per second, at once": interleaved.quartiles(rates["at once"]),
        "seeds per second, one by one": interleaved.quartiles(rates["one"]),
        "seeds per second, Python loops": interleaved.quartiles(rates["steps"]),
        "throughput over one by one": interleaved.ratios(times["one"], times["at once"]),
        "throughput over Python loops": interleaved.ratios(times["steps"], times["at once"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--cores", type=int, help="only on so many cores, and print that")
    options = parser.parse_args()
    if options.cores is not None:
        jax.config.update("jax_num_cpu_devices", options.cores)
        print(json.dumps(on_cores(options)))
        return
    passed = ["--quick"] * options.quick
    report = {"machine": common.machine("jax"), **interleaved.by_cores(__file__, passed)}
    del report["machine"]["cores used"]  # two numbers of them, named where they are used
    common.publish(report, "poison", options.quick)


if __name__ == "__main__":
    main()
