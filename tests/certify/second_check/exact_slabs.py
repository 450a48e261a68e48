"""Slabs and their rates in exact rational arithmetic."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from mpmath import mpf

from ssmbias.certify.second_check import slabs
from ssmbias.certify.second_check.bounds import Model


def exact_state(model: Model, point: tuple) -> dict[str, Any]:
    """Everything at (E, g, w, mu), to 60 digits."""
    scale, g, w, mu = point
    num, power = model.state_dim, model.seq_len - 2
    second = (1 + w) / num + scale * (1 - g / num)
    values = [second + g * scale, second, *(second - m * scale for m in mu)]

    def geometric(z: Any) -> Any:
        return sum(z**i for i in range(power))

    z = [a / second for a in values]
    mean = sum(m * geometric(v) for m, v in zip(mu, z[2:], strict=True)) / num
    sums = {m: sum(a**m for a in values) for m in (power, model.seq_len - 1)}
    q = (model.seq_len - 1) * (1 - sums[model.seq_len - 1])
    rates = {"g": g / scale * (geometric(z[0]) / mean - 1)}
    for j, m in enumerate(mu):
        rates[f"mu_{j + 3}"] = m / scale * (geometric(z[2 + j]) / mean - 1)
    if q > 0:
        pull = model.strength * num * w / q
        rates["w"] = (sums[power] - pull) / (second ** (power - 1) * mean * scale)
    return {"q": q, "S_p": sums[power], "S_even": sums[model.seq_len - 1], "rates": rates}


def random_slab(rng: np.random.Generator, model: Model, width: float) -> slabs.Slabs | None:
    """A slab around a random admissible state, its hints near where they matter."""
    num, free = model.state_dim, model.state_dim - 2
    scale, g, w = 10.0 ** rng.uniform(-4, 0), rng.uniform(0.01, 0.9 * num), rng.uniform(0, 0.05)
    mu = rng.uniform(0.3, 2.0, free)
    mu *= num / mu.sum()
    second = (1 + w) / num + scale * (1 - g / num)
    z = 1 - mu * scale / second
    a = second * np.array([1 + g * scale / second, 1, *z])
    if second <= 0 or z.min() < -1.15 or not (a ** (model.seq_len - 1)).sum() < 0.99:
        return None
    if (a ** (model.seq_len - 2)).sum() <= 0:
        return None
    centre = np.repeat([g, w, *mu], 2)
    sides = np.tile([-1.0, 1.0], centre.size // 2)
    start = centre * (1 + sides * width * rng.uniform(0.2, 1, centre.size))
    end = start * (1 + 0.2 * width * rng.uniform(-1, 1, centre.size))
    hints = np.clip(np.abs(rng.choice(z, 2)) + width * rng.uniform(-1, 1, 2), 0, 1)
    lists = [[scale], [scale * (1 + width)], [start], [end], [hints], [[1, 1]]]
    return slabs.Slabs(*map(np.array, lists))


def random_slabs(rng: np.random.Generator, count: int) -> list[tuple[Model, slabs.Slabs]]:
    """Slabs over sequence lengths, sizes, strengths and widths; a third has some z_j < -1/2."""
    found: list[tuple[Model, slabs.Slabs]] = []
    steep = 0
    while len(found) < count:
        model = Model(
            int(rng.choice([5, 7, 9])), int(rng.choice([3, 4, 6])), 10 ** rng.uniform(-1, 1)
        )
        made = random_slab(rng, model, float(rng.choice([1e-3, 1e-2, 5e-2])))
        if made is None:
            continue
        lowest = np.min(1 - made.start[0, 5::2].max() * largest_e(model, made))
        if lowest < -0.5:
            steep += 1
        elif len(found) - steep > 2 * count / 3:
            continue
        if lowest > -1.2:
            found.append((model, made))
    return found


def largest_e(model: Model, slab: slabs.Slabs) -> float:
    g, w, num = slab.start[0, 1], slab.start[0, 2], model.state_dim
    return 1 / ((1 + w) / (num * slab.to[0]) + 1 - g / num)


def points_on_face(
    rng: np.random.Generator, model: Model, slab: slabs.Slabs, name: str, upper: bool, count: int
) -> Iterator[tuple]:
    """Random points of a face, exactly: sum(mu) = d, half of the other coordinates at an end."""
    names = ["g", "w", *(f"mu_{j + 3}" for j in range(model.state_dim - 2))]
    low = np.minimum(slab.start, slab.end)[0, 0::2]
    high = np.maximum(slab.start, slab.end)[0, 1::2]
    at = names.index(name)
    from_, to = mpf(slab.from_[0]), mpf(slab.to[0])
    for _ in range(count):
        scale = from_ + (to - from_) * rng.choice([0.0, 1.0, rng.uniform()])
        ends = rng.uniform(size=low.size)
        picked = np.where(ends < 0.25, low, np.where(ends > 0.75, high, rng.uniform(low, high)))
        exact = [mpf(v) for v in picked]
        first, last = (mpf(box[0, 2 * at + upper]) for box in (slab.start, slab.end))
        exact[at] = first + (last - first) * (scale - from_) / (to - from_)
        for k in rng.permutation([k for k in range(2, low.size) if k != at]):
            # The first that can take up what the sum lacks.
            rest = model.state_dim - sum(v for i, v in enumerate(exact) if i >= 2 and i != k)
            if low[k] <= rest <= high[k]:
                exact[k] = rest
                break
        if abs(sum(exact[2:]) - model.state_dim) < mpf(10) ** -50:
            yield scale, exact[0], exact[1], exact[2:]
