"""``python -m ssmbias.certify.second_check proof.gz``: exit 0 for a valid log, 1 otherwise."""

import sys

from . import recheck

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m ssmbias.certify.second_check proof.gz")
    report = recheck(sys.argv[1])
    if not report.valid:
        sys.exit(f"not valid, line {report.line}: {report.reason}")
    print(f"valid: clean error/d <= {report.clean_error_upper:.6g}")
    print(
        f"poisoned error/d in {report.poisoned_error_lower:.6g}..{report.poisoned_error_upper:.6g}"
    )
