"""``python -m ssmbias.certify.second_check proof.gz``: exit 0 if valid, else 1; 2 for bad usage."""

import decimal
import sys

from . import recheck


def rounded(value: float, way: str) -> str:
    """Six digits, never better than the bound itself."""
    return str(decimal.Context(prec=6, rounding=way).create_decimal(decimal.Decimal(value)))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python -m ssmbias.certify.second_check proof.gz", file=sys.stderr)
        sys.exit(2)
    report = recheck(sys.argv[1])
    if not report.valid:
        sys.exit(f"not valid, line {report.line}: {report.reason}")
    lower = rounded(report.poisoned_error_lower, decimal.ROUND_FLOOR)
    upper = rounded(report.poisoned_error_upper, decimal.ROUND_CEILING)
    print("valid; the bounds found, rounded outward:")
    print(f"clean error/d <= {rounded(report.clean_error_upper, decimal.ROUND_CEILING)}")
    print(f"{lower} <= poisoned error/d <= {upper}")
