"""python -m ssmbias.certify.check proof.gz: the theorem that a file proves, in words and numbers.

Exit status: 0 for a proof; 1 for anything else in the file, with its first line that fails; 2 for
bad usage, or without python-flint.
"""

from __future__ import annotations

import argparse
import math
import sys
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from . import Report, check

TEXT = """\
Theorem, proved in {r.precision}-bit ball arithmetic over {r.slabs} slabs and {r.leaves} box(es).
Let S_l = a_1^l + ... + a_{d}^l, and let the error be the largest |S_l - 1|, l = 1..19.
For EVERY initialisation with
{box}
(i) the clean flow a_i' = q a_i^{p}, q = {m} (1 - S_{m}), converges to zero loss, with
      error/{d} <= {clean};
(ii) {flow}, exists for all time
    and converges to a single point of zero loss (S_1 = S_{m} = 1), with
      {lower} <= error/{d} <= {upper}.
Bounds are rounded outward, the ends of the box inward; the file holds the exact numbers."""

FLOW = "the poisoned flow a_i' = q a_i^{p} + rho (1 - S_1), rho = {rho!r}"
STRONG = """\
the limit of the poisoned flow a_i' = q a_i^{p} + rho (1 - S_1) as rho -> infinity, that is
    a_i' = q (a_i^{p} - the mean of all a_j^{p}) from where a common shift has made S_1 = 1"""


def _decimal(x: float, up: bool, digits: int) -> str:
    rounding = ROUND_CEILING if up else ROUND_FLOOR
    value = Context(prec=digits, rounding=rounding).create_decimal(Decimal(x))
    return f"{value.normalize(Context(prec=digits)):g}"


def _side(low: float, high: float) -> str:
    """Numbers inside [low, high], in few digits if that loses little of it."""
    few = 9 if high - low > 1e-6 * high else 800
    return f"[{_decimal(low, True, few)}, {_decimal(high, False, few)}]"


def theorem(r: Report) -> str:
    """What a valid file proves, in words."""
    names = ["a_2", "a_1 - a_2", *(f"a_2 - a_{j}" for j in range(3, r.state_dim + 1))]
    flow = STRONG if r.strength == math.inf else FLOW
    return TEXT.format(
        flow=flow.format(p=r.seq_len - 2, rho=r.strength),
        r=r,
        d=r.state_dim,
        p=r.seq_len - 2,
        m=r.seq_len - 1,
        box="\n".join(f"  {x} in {_side(*side)}" for x, side in zip(names, r.box, strict=True)),
        clean=_decimal(r.clean_error_upper, True, 5),
        lower=_decimal(r.poisoned_error_lower, False, 5),
        upper=_decimal(r.poisoned_error_upper, True, 5),
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m ssmbias.certify.check", description=__doc__)
    parser.add_argument("proof", help="a proof log, gzip-compressed")
    path = parser.parse_args().proof
    try:
        report = check(path)
    except ImportError as error:
        print(error, file=sys.stderr)
        return 2
    if not report.valid:
        print(f"not a proof: line {report.line}: {report.reason}", file=sys.stderr)
        return 1
    print(theorem(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
