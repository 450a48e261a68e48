"""Replays one tube: slabs, jumps, forks (docs/certificates.md, "The tube"; T1..T7)."""

from __future__ import annotations

import math

from flint import arb

from .bounds import Slab, even_sum, face_rates
from .limits import check_limits, clean_bound, entry_box
from .proof_log import Box, Failure, Problem, Reader, integer, reals

MAX_WAITING = 1000  # boxes, or forks


def _face(i: int) -> str:
    name = "g" if i < 2 else "w" if i < 4 else f"mu_{i // 2 + 1}"
    return f"{'upper' if i % 2 else 'lower'} face of {name}"


def _read_slab(e: float, state: list[float], fields: list[str]) -> Slab:
    e1, zeta_lo, zeta_hi, *t = reals(fields[1:4] + fields[6:], 3 + len(state))
    if not (e1 > e and 0 <= zeta_lo <= 1 and 0 <= zeta_hi <= 1):
        raise Failure("T1: a slab needs E1 above the last E, and zeta in [0, 1]")
    ne, ngw = (integer(fields[i : i + 1], 1, 64) for i in (4, 5))
    return Slab(e, e1, state, t, zeta_lo, zeta_hi, ne, ngw)


def check_slab(pb: Problem, slab: Slab, entry) -> None:
    """T1, T3, T5 and T4 on one slab."""
    for state in (slab.s, slab.t):
        if not all(a <= b for a, b in zip(state[::2], state[1::2], strict=True)):
            raise Failure("T1: a box of states has lo > hi")
        if not (state[2] >= 0 and all(x > 0 for x in [state[0], *state[4::2]])):
            raise Failure("T1: g > 0, w >= 0 and mu > 0 are needed")
        if pb.state_dim == 3 and state[4:] != [3.0, 3.0]:
            raise Failure("T1: mu_3 is exactly 3 when d = 3")
        if pb.strength == math.inf and any(state[2:4]):
            raise Failure("T1: w is exactly 0 when the strength is inf")
        if arb(slab.e0) > entry[1]:
            continue
        for i, (x, y) in enumerate(zip(state, entry[2], strict=True)):  # T3, late entry
            if not (y <= x if i % 2 else x <= y):
                raise Failure(f"T3: the entry box is not inside the {_face(i)}")
    width = arb(slab.e1) - slab.e0
    for i, rate in enumerate(face_rates(pb, slab)):
        slope = (arb(slab.t[i]) - slab.s[i]) / width
        if rate is not None and not (slope > rate if i % 2 else slope < rate):
            words = f"is not {'above' if i % 2 else 'below'} the rate"
            raise Failure(f"T4 {_face(i)}: slope {float(slope):.12g} {words} {float(rate):.12g}")


def _stopped(pb: Problem, e: float, g: float, state) -> bool:
    """S_{kappa-1} >= 1, so q <= 0, from this g on (B8; S_p > 0 is proved on the box)."""
    mu_lo, mu_hi = [arb(x) for x in state[4::2]], [arb(x) for x in state[5::2]]
    w = arb(state[2])
    return even_sum(pb, pb.seq_len - 1, arb(e), arb(g), w, mu_lo, mu_hi, False) >= 1


def _check_end(pb: Problem, e: float, state, proved) -> None:
    """T7, on the box that the last slab ended with."""
    if state != proved:
        raise Failure("a tube ends at the end box of a slab, without jumps")
    if not _stopped(pb, e, proved[0], proved):
        raise Failure("T7: q <= 0 is not certain at the end of the tube")


def _jump(pb: Problem, e: float, state, proved, fields: list[str]) -> list[float]:
    """T2: a face moves outward; T6: or g.hi moves in, past what cannot be reached."""
    i, (x,) = integer(fields[1:2], 0, len(state) - 1), reals(fields[2:], 1)
    if not (x >= state[i] if i % 2 else x <= state[i]):
        if i != 1:
            raise Failure(f"T2: the {_face(i)} may only move outward")
        if not _stopped(pb, e, x, proved):
            raise Failure(f"T6: q <= 0 is not certain from g = {x:.12g} on; g.hi may not fall")
    return [*state[:i], x, *state[i + 1 :]]


def _fork(state, proved, fields: list[str]):
    """The lower halves of both boxes, and the upper ones; they share the cut."""
    i = 2 * integer(fields[2:3], 3, len(state) // 2) - 2 if fields[1:2] == ["mu"] else 0
    (c,) = reals(fields[3 if i else 2 :], 1)
    if not (i or fields[1] == "g") or not state[i] < c < state[i + 1]:
        raise Failure("a fork is in g or in mu <j>, and must cut inside its box")
    lower = [[*x[: i + 1], min(x[i + 1], c), *x[i + 2 :]] for x in (state, proved)]
    return lower, [[*x[:i], max(x[i], c), *x[i + 1 :]] for x in (state, proved)]


def check_tube(pb: Problem, box: Box, claims, reader: Reader, first: list[str], count) -> None:
    """One box of starts, from its `tube` record to the last `end`; `count()` at every slab."""
    clean = clean_bound(pb, box) / pb.state_dim
    if not clean <= claims[0]:
        raise Failure(f"clean error/d: proved is {float(clean):.6g}, claimed {claims[0]:.6g}")
    entry, found = entry_box(pb, box), False
    e, *state = reals(first[1:], 1 + 2 * pb.state_dim)
    if not (e > 0 and arb(e) <= entry[0]):
        raise Failure("T1: the first E must be positive and at most the least of the entry box")
    # `proved`: the box before the jumps; trajectories that have entered are in it, with S_p > 0.
    proved, waiting, finished = state, [], False
    while not finished:
        fields = reader.record("slab", "jump", "fork", "end")
        if fields[0] == "slab":
            count()
            slab = _read_slab(e, state, fields)
            check_slab(pb, slab, entry)
            found |= check_limits(pb, slab, *claims[1:])
            e, state, proved = slab.e1, slab.t, slab.t
        elif fields[0] == "jump":
            state = _jump(pb, e, state, proved, fields)
        elif not arb(e) > entry[1]:
            raise Failure(f"T3: {fields[0]} while trajectories may still enter")
        elif fields[0] == "fork":
            (state, proved), upper = _fork(state, proved, fields)
            waiting.append((e, *upper))
            if len(waiting) > MAX_WAITING:
                raise Failure(f"more than {MAX_WAITING} forks wait")
        else:
            _check_end(pb, e, state, proved)
            finished = not waiting
            if waiting:
                e, state, proved = waiting.pop()
    if not found:
        raise Failure("no slab can hold a limit point, though there must be one")
