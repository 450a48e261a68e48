"""Bounds of the rates on the faces of one slab, in float64 (docs/certificates.md).

State boxes are those of `system`. All pieces of all faces go through each NumPy call together: a
call on a small array costs as much as its first hundred numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ssmbias.certify.prover.system import (
    Array,
    Cuts,
    Faces,
    Invalid,
    Pair,
    System,
    geometric_sum,
    power,
    steepest_fall,
)


def face_bounds(system: System, span: Pair, s: Array, t: Array, cuts: Cuts) -> Faces:
    """Bounds of the rates on every face of a slab with start box s and end box t.

    Args:
      system: the flow.
      span: E at the start and at the end.
      s: its start box.
      t: its end box.
      cuts: hints and numbers of pieces.

    Raises:
      Invalid: a quantity that must be positive on the slab may not be.
    """
    dim, p = system.dim, system.p
    low, high = np.minimum(s, t), np.maximum(s, t)
    above, below, growth, area = _shape_rates(system, span, low, high, cuts)
    rate = np.empty_like(s)
    if dim > 3:
        rate[0, 2:], rate[1, 2:] = below, above
    else:
        rate[:, 2] = 0.0
    g0, w0 = low[0, :2].tolist()
    g1, w1 = high[1, :2].tolist()
    start, end = span
    # g: P and 1/A both increase with e.
    g_inner = float(high[0, 0]), float(low[1, 0])
    x = growth[1] - 1
    rate[1, 0] = x * (g1 / start if x > 0 else g_inner[1] / end)
    x = growth[0] - 1
    rate[0, 0] = x * (g0 / end if x > 0 else g_inner[0] / start)
    lowest, highest = 1 - g1 / dim, 1 - g0 / dim
    a2 = (
        (1 + w0) / dim + min(start * lowest, end * lowest),
        (1 + w1) / dim + max(start * highest, end * highest),
    )
    if not a2[0] > 0:
        raise Invalid(f"a_2 > 0 (lower bound {a2[0]:.3g})")
    volume = (
        power(a2[0], p - 1) * area[0] * start,
        power(a2[1], p - 1) * area[1] * end,
    )
    return _loss_rates(system, span, low, high, cuts.num_g, volume, rate, growth[1])


def _shape_rates(system: System, span: Pair, low: Array, high: Array, cuts: Cuts) -> Any:
    """Rates of μ, the bounds (P/A) for g, and bounds of A over the slab."""
    dim, p = system.dim, system.p
    start, end = span
    g0, w0 = low[0, :2].tolist()
    g1, w1 = high[1, :2].tolist()
    inverse = (1 + w0) / (dim * end) + 1 - g1 / dim
    if not inverse > 0:
        raise Invalid(f"e > 0 (1/e = {inverse:.3g})")
    e_hi = 1 / inverse
    e_lo = 1 / ((1 + w1) / (dim * start) + 1 - g0 / dim)
    num = cuts.num_e
    width = (e_hi - e_lo) / num
    nodes = [e_lo + k * width for k in range(num)]
    nodes.append(e_hi)
    e = np.array(nodes)[:, None]
    # Rows: ends of the lower faces, then of the upper faces.
    m = np.empty((4, dim - 2))
    m[0], m[1], m[2], m[3] = low[0, 2:], high[0, 2:], low[1, 2:], high[1, 2:]
    z = 1 - e[:, :, None] * m
    z_min = float(z[-1, 3].min())
    if not z_min > -1.25:
        raise Invalid(f"z >= -5/4 ({z_min:.3g})")
    sums = geometric_sum(z, p)
    f = sums * m
    c_lo = p * cuts.zeta_lo ** (p - 1)
    c_hi = p * cuts.zeta_hi ** (p - 1)
    phi_lo = f - c_lo * m
    phi_hi = f - c_hi * m
    least = np.minimum(phi_lo[:, 0], phi_lo[:, 3])
    own_least = np.minimum(phi_lo[:, 2], phi_lo[:, 3])
    if z_min < 0:
        zeta = cuts.zeta_lo
        value = (1 + zeta**p - c_lo * (1 + zeta)) / e
        least = np.where(z[:, 3] < 0, np.minimum(least, value), least)
        own_least = np.where(z[:, 3] < 0, np.minimum(own_least, value), own_least)
    most = np.maximum(phi_hi[:, 0], phi_hi[:, 3])
    own_most = np.maximum(phi_hi[:, 0], phi_hi[:, 1])
    zeta = cuts.zeta_hi
    inside = z[:, 0] >= zeta
    value = (1 - zeta**p - c_hi * (1 - zeta)) / e
    most = np.where(inside & (z[:, 3] <= zeta), np.maximum(most, value), most)
    own_most = np.where(inside & (z[:, 1] <= zeta), np.maximum(own_most, value), own_most)
    a_lo = c_lo + np.add.reduce(least, 1) / dim
    a_hi = c_hi + np.add.reduce(most, 1) / dim
    own_lo = (a_lo[:, None] + (own_least - least) / dim)[1:]
    own_hi = (a_hi[:, None] + (own_most - most) / dim)[:-1]
    a_lo, a_hi = a_lo[1:], a_hi[:-1]
    p_left, p_right = sums[:-1, 2], sums[1:, 1]
    if z_min < -0.5:
        fall = steepest_fall(z_min, p)
        reach = np.where(z[-1, 3] < -0.5, m[3], 0.0)
        loss = width * fall / dim * float(reach @ reach)
        a_lo, a_hi, own_lo, own_hi = a_lo - loss, a_hi + loss, own_lo - loss, own_hi + loss
        p_left = np.maximum(p_left, sums[1:, 3])
        p_right = p_right - fall * (z[:-1, 0] - z[1:, 1]) * (z[1:, 1] < -0.5)
    area = float(a_lo.min()), float(a_hi.max())
    if not area[0] > 0 or not own_lo.min() > 0:
        raise Invalid(f"A > 0 (lower bound {area[0]:.3g})")
    up = np.maximum.reduce(p_left / own_lo, 0) - 1
    down = np.minimum.reduce(p_right / own_hi, 0) - 1
    above = np.maximum(up * (m[3] / start), up * (m[2] / end))
    below = np.minimum(down * (m[0] / end), down * (m[1] / start))
    if z_min < -0.5:
        most_g = max(
            geometric_sum(1 + g1 * x, p) / a for x, a in zip(nodes[1:], a_lo.tolist(), strict=True)
        )
        least_g = min(
            geometric_sum(1 + g0 * x, p) / a for x, a in zip(nodes, a_hi.tolist(), strict=False)
        )
    else:
        most_g = geometric_sum(1 + g1 * e_hi, p) / float(a_lo[-1])
        least_g = geometric_sum(1 + g0 * e_lo, p) / float(a_hi[0])
    return above, below, (least_g, most_g), area


def g_pieces(g0: Any, g1: Any, num: int) -> tuple[Array, Array]:
    """Ends of `num` pieces of [g0, g1], in equal steps and in equal ratios (last axis).

    Both partitions, because the checker chooses its own: a bound over all pieces holds for each.
    """
    if num == 1:
        return np.array([g0]), np.array([g1])
    k = np.arange(num + 1) / num
    equal, ratio = g0 + (g1 - g0) * k, g0 * (g1 / g0) ** k
    return np.concatenate((equal[:-1], ratio[:-1])), np.concatenate((equal[1:], ratio[1:]))


def _loss_rates(
    system: System,
    span: Pair,
    low: Array,
    high: Array,
    num: int,
    volume: Pair,
    rate: Array,
    growth: float,
) -> Faces:
    """Complete `rate` by the faces of w."""
    dim, kappa, rho = system
    p = kappa - 2
    start, end = span
    w00, w01 = float(low[0, 1]), float(high[0, 1])
    w10, w11 = float(low[1, 1]), float(high[1, 1])
    g = np.empty((2, 1 if num == 1 else 2 * num))
    g[0], g[1] = g_pieces(float(low[0, 0]), float(high[1, 0]), num)
    # Row 0: upper bounds (large g in a_1, small g in the others), row 1: lower bounds.
    x = np.empty((2, g.shape[1], dim))
    x[:, :, 0] = 1 + g[::-1] * (1 - 1 / dim)
    x[:, :, 1] = 1 - g / dim
    x[0, :, 2:] = x[0, :, 1:2] - low[0, 2:]
    x[1, :, 2:] = x[1, :, 1:2] - high[1, 2:]
    # a_1's row has no leading 1: it is (1+w)/d + E (1 + g (1 - 1/d)).
    a = np.empty_like(x)
    np.maximum(start * x[0], end * x[0], out=a[0])
    np.minimum(start * x[1], end * x[1], out=a[1])
    a[0] += (1 + w11) / dim
    a[1] += (1 + w00) / dim
    force = np.add.reduce(power(a, p), 2)
    if not force[1].min() > 0:
        raise Invalid(f"S_p > 0 (lower bound {float(force[1].min()):.3g})")
    # q from above at the corner (start, small g, small w of the upper face), and from below.
    q_hi = 1 - corner_power(system, start, g[0], w10, low, high, upper=False)
    q_lo = 1 - corner_power(system, end, g[1], w01, low, high, upper=True)
    if np.isinf(rho):  # S_1 = 1 is kept
        rate[:, 1] = 0.0
        never = np.inf, np.inf
        q = float(q_lo.min()), max(float(q_hi.max()), 0.0)
        return Faces(rate, (0.0, 0.0), (never, never), growth, q)
    factor = (kappa - 1) / (rho * dim)
    reachable = q_hi > 0
    top = 0.0
    if reachable.any():
        f_up, q_up = force[0][reachable], q_hi[reachable]
        up = float((f_up - w10 / factor / q_up).max())
        rate[1, 1] = up / volume[0] if up > 0 else up / volume[1]
        target_hi = float((f_up * q_up).max()) * factor
        top = float(q_up.max())
        relax_hi = 1 / factor / top / volume[1], 1 / factor / float(q_up.min()) / volume[0]
    else:
        rate[1, 1], target_hi = -1e300, -1.0
        relax_hi = np.inf, np.inf
    least = float(q_lo.min())
    if least > 0:
        down = float((force[1] - w01 / factor / q_lo).min())
        rate[0, 1] = down / volume[1] if down > 0 else down / volume[0]
        target_lo = float((force[1] * q_lo).min()) * factor
        relax_lo = 1 / factor / float(q_lo.max()) / volume[1], 1 / factor / least / volume[0]
    else:
        rate[0, 1], target_lo, relax_lo = np.nan, 0.0, (np.inf, np.inf)
    return Faces(rate, (target_lo, target_hi), (relax_lo, relax_hi), growth, (least, top))


def corner_power(
    system: System, clock: Any, g: Any, w: Any, low: Array, high: Array, *, upper: bool
) -> Array:
    """A bound of S_(κ-1) at fixed (E, g, w) over the μ-box with Σ μ = d.

    Args:
      system: the flow.
      clock: E.
      g: one number, or one for each piece.
      w: one number.
      low: a state box; its row 0 holds the lower ends of μ.
      high: a state box; its row 1 holds the upper ends of μ.
      upper: the upper bound, else the lower one.
    """
    return power_bound(
        system.dim, system.seq_len - 1, clock, g, w, (low[0, 2:], high[1, 2:]), upper
    )


def power_bound(
    dim: int, m: int, clock: Any, g: Any, w: Any, mu: tuple[Array, Array], upper: bool
) -> Array:
    """A bound of S_m, m even; the μ have one more axis, at the end, than `clock`, `g` and `w`."""
    a2 = np.asarray((1 + w) / dim + clock * (1 - g / dim))
    a1 = a2 + g * clock
    mean = a2 - clock * (dim / (dim - 2))
    slope = np.asarray(m * power(mean, m - 1))
    clock = np.asarray(clock)[..., None]
    wide, slopes = a2[..., None], slope[..., None]
    ends = wide - clock * mu[1], wide - clock * mu[0]
    if upper:
        terms = np.maximum(*(power(x, m) - slopes * x for x in ends))
    else:
        x = np.minimum(np.maximum(np.asarray(mean)[..., None], ends[0]), ends[1])
        terms = power(x, m) - slopes * x
    return power(a1, m) + power(a2, m) + np.add.reduce(terms, -1) + (dim - 2) * slope * mean


def best_hints(system: System, e: Pair, mu: tuple[Array, Array]) -> Any:
    """The ζ for which the multiplier's bounds of A are best: of the lower, of the upper one."""
    dim, p = system.dim, system.p
    centre, half = 0.5, 0.5
    out = []
    for kind in (0, 1):
        centre, half = 0.5, 0.5
        ek = e[1 - kind]
        m = np.stack(mu)
        z = 1 - ek * m
        f = geometric_sum(z, p) * m
        for _ in range(4):
            zeta = np.clip(centre + half * np.linspace(-1, 1, 21), 0, 1)[:, None]
            c = p * zeta ** (p - 1)
            phi = f[:, None] - c * m[:, None]
            if kind == 0:
                value = (1 + zeta**p - c * (1 + zeta)) / ek
                term = np.minimum(phi[0], phi[1])
                term = np.where(z[1] < 0, np.minimum(term, value), term)
                a = c[:, 0] + term.sum(1) / dim
                best = int(a.argmax())
            else:
                value = (1 - zeta**p - c * (1 - zeta)) / ek
                term = np.maximum(phi[0], phi[1])
                inside = (z[0] >= zeta) & (z[1] <= zeta)
                term = np.where(inside, np.maximum(term, value), term)
                a = c[:, 0] + term.sum(1) / dim
                best = int(a.argmin())
            centre, half = float(zeta[best, 0]), half / 8
        # Few digits: any hint is sound.
        out.append(round(centre * 4096) / 4096)
    return tuple(out)
