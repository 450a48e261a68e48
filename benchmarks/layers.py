"""Speed of the sequence layers: against the same arithmetic in PyTorch, and a step-by-step scan.

A job is the output of a layer for a batch, and the slopes of its weighted sum by all parameters
and the input, in single precision. PyTorch is no dependency: it runs as a child under the Python
of another environment, gets parameters and inputs as an .npz file, and its outputs and slopes must
agree with ours before anything is timed. All take turns, on one core and on two.

    python -m venv ../torch && ../torch/bin/pip install torch numpy
    python benchmarks/layers.py --torch-python ../torch/bin/python     # some minutes
    python benchmarks/layers.py --quick                                # a smoke run, without torch
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import common  # pins the process to one core, so before JAX and NumPy
import interleaved
import jax
import numpy as np

from ssmbias.models.layers import lru, mamba2, s4d

LAYERS: dict[str, tuple[ModuleType, int]] = {
    "s4d": (s4d, 64),
    "lru": (lru, 64),
    "mamba2": (mamba2, 16),
}
"""Layers with their published state dimensions."""

AGREE = 1e-4
"""Largest difference of two results over the largest entry: some hundred roundings of 6e-8."""

_CHILD = Path(__file__).with_name("_torch_layers.py")
_CHUNKS = (32, 64, 128)


class Torch:
    """The child process: one request and one answer, each a line of JSON."""

    def __init__(self, python: str, threads: int) -> None:
        self._process = subprocess.Popen(
            [python, str(_CHILD), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: object) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the child with PyTorch has ended; its message is above")
        return json.loads(line)

    def close(self) -> None:
        """End the child."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def draw(name: str, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Parameters, inputs and weights of the outputs."""
    module, state_dim = LAYERS[name]
    start = functools.partial(module.init, channels=shape[-1], state_dim=state_dim, dtype="float32")
    u, weights = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    return {"params": jax.jit(start)(jax.random.key(0)), "u": u, "weights": weights}


def our_job(name: str, method: str, arrays: dict[str, Any]) -> Callable[[], list[np.ndarray]]:
    """A warm job; it answers with the outputs and the slopes."""
    module, _ = LAYERS[name]

    def weighted(params: Any, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = jax.vmap(lambda one: module.apply(params, one, method))(u)
        return jax.numpy.vdot(arrays["weights"], y), y

    both = jax.jit(jax.value_and_grad(weighted, argnums=(0, 1), has_aux=True))
    params, u = jax.device_put((arrays["params"], arrays["u"]))

    def job() -> list[np.ndarray]:
        (_, y), slopes = jax.block_until_ready(both(params, u))
        return [np.asarray(x) for x in (y, *jax.tree.leaves(slopes))]

    return job


def worst(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest difference over the largest entry, of all arrays; an error if too large."""
    pairs = zip(found, expected, strict=True)
    value = max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in pairs)
    if not value < AGREE:
        raise AssertionError(f"results differ by {value:.1e} of the largest entry")
    return value


def start_torch(
    torch: Torch, name: str, arrays: dict[str, Any], folder: Path, rounds: int
) -> tuple[dict[str, object], list[np.ndarray]]:
    """Put the layer into the child with its quickest chunk; the results to compare."""
    shape = arrays["u"].shape
    leaves: dict[str, Any] = {
        k: np.asarray(x) for k, x in arrays["params"]._asdict().items() if x is not None
    }
    leaves |= {"u": arrays["u"], "weights": arrays["weights"]}
    np.savez(folder / "case.npz", **leaves)
    prepare = functools.partial(
        torch.ask,
        layer=name,
        path=str(folder / "case.npz"),
        answer=str(folder / "answer.npz"),
        size=2 * shape[1],
    )
    facts: dict[str, object] = {}
    if name == "mamba2":
        times = {}
        for chunk in (c for c in _CHUNKS if shape[1] % c == 0):
            prepare(chunk=chunk)
            times[chunk] = min(torch.ask()["seconds"] for _ in range(rounds))
        facts["chunk, the quickest for torch"] = min(times, key=lambda chunk: times[chunk])
    facts |= prepare(chunk=facts.get("chunk, the quickest for torch", 0))
    with np.load(folder / "answer.npz") as file:
        return facts, [file[key] for key in file.files]


def compare(name: str, shape: tuple[int, int, int], torch: Torch | None, repeats: int) -> Any:
    """One layer: ours, torch's, and ours step by step."""
    arrays = draw(name, shape)
    module, state_dim = LAYERS[name]
    ours, naive = (our_job(name, m, arrays) for m in (module.METHODS[0], "recurrence"))
    results = ours()
    report: dict[str, Any] = {
        "batch, length, channels": list(shape),
        "state_dim": state_dim,
        "our method": module.METHODS[0],
        "the scan differs by": worst(naive(), results),
    }
    jobs = {"ours": interleaved.stopwatch(ours)}
    with tempfile.TemporaryDirectory() as folder:
        if torch is not None:
            facts, theirs = start_torch(torch, name, arrays, Path(folder), min(repeats, 3))
            report |= {**facts, "torch differs by": worst(theirs, results)}
            jobs["torch"] = lambda: torch.ask()["seconds"]
        times = interleaved.in_turns(jobs, repeats)
    # The scan takes seconds: fewer rounds, each with one of ours beside it.
    slow = {"ours": jobs["ours"], "scan": interleaved.stopwatch(naive)}
    slow_times = interleaved.in_turns(slow, max(1, repeats // 5))
    times["scan"] = slow_times["scan"]
    report["ms"] = {k: interleaved.quartiles([1e3 * s for s in v]) for k, v in times.items()}
    if torch is not None:
        report["torch's time over ours"] = interleaved.ratios(times["torch"], times["ours"])
    report["the scan's time over ours"] = interleaved.ratios(slow_times["scan"], slow_times["ours"])
    return report


def on_cores(options: argparse.Namespace) -> dict[str, Any]:
    """All layers on a number of cores."""
    interleaved.use_cores(options.cores)
    jax.config.update("jax_enable_x64", False)
    shape, repeats = ((2, 64, 128), 2) if options.quick else ((16, 1024, 128), 15)
    path = options.torch_python
    torch = None if path is None else Torch(path, options.cores)
    report: dict[str, Any] = dict(interleaved.load())
    for name in LAYERS:
        report[name] = compare(name, shape, torch, repeats)
    if torch is not None:
        torch.close()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--torch-python", metavar="PATH", help="the Python that has torch")
    parser.add_argument("--cores", type=int, help="only on so many cores, and print that")
    options = parser.parse_args()
    if options.cores is not None:
        print(json.dumps(on_cores(options)))
        return
    passed = ["--quick"] * options.quick
    if options.torch_python is not None:
        passed.append(f"--torch-python={options.torch_python}")
    elif not options.quick:
        parser.error("give --torch-python PATH: pip install torch numpy in another environment")
    report = {"machine": common.machine("jax"), **interleaved.by_cores(__file__, passed)}
    del report["machine"]["cores used"]  # two numbers of them, named where they are used
    common.publish(report, "layers", options.quick)


if __name__ == "__main__":
    main()
