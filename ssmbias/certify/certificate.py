"""Certificates: a statement about a box, and the proof log that shows it."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssmbias.certify.box import Box, require_flow
from ssmbias.certify.prover.proof_log import compress, header_lines, record_lines, write_log
from ssmbias.certify.prover.prove import Node, ProverOptions, prove
from ssmbias.certify.prover.system import Slab
from ssmbias.core.display import displayed

__all__ = ["Certificate", "ProverOptions", "certify"]


@displayed()
@dataclass(frozen=True, repr=False)
class Certificate:
    """What was proved about a box, or why nothing was.

    Attributes:
      box: the starts.
      seq_len: κ.
      strength: ρ.
      certified: whether the checker accepted the proof.
      clean_error_upper: no start of the box has a larger clean error / d at the end.
      poisoned_error_lower: every start has at least this poisoned error / d at the end.
      poisoned_error_upper: and at most this one.
      reason: if not certified, the slab and the inequality that failed.
      slabs: the tube: E at the ends and both boxes of each slab, of every branch.
      seconds: the time that the prover and the checker took.
      log: the compressed proof; empty if none was found.
    """

    box: Box
    seq_len: int
    strength: float
    certified: bool
    clean_error_upper: float
    poisoned_error_lower: float
    poisoned_error_upper: float
    reason: str
    slabs: tuple[Slab, ...] = field(repr=False)
    seconds: tuple[float, float]
    log: bytes = field(repr=False)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the proof log, which `python -m ssmbias.certify.check` replays.

        Args:
          path: the file, named `….gz`.

        Raises:
          ValueError: there is no proof to save.
        """
        if not self.certified:
            raise ValueError(f"certified=False: there is no proof to save ({self.reason})")
        return write_log(Path(path), self.log)


def certify(
    box: Box,
    seq_len: int,
    strength: float = 1.0,
    *,
    options: ProverOptions | None = None,
    progress: Callable[[str], object] | None = None,
) -> Certificate:
    """Prove Theorem 1's two halves for every start in a box.

    The clean flow from any start of the box reaches zero loss with error / d at most
    `clean_error_upper`, and the poisoned flow reaches zero loss with error / d between
    `poisoned_error_lower` and `poisoned_error_upper`. The error is the largest |S_l - 1| over
    lags l < 20, S_l = Σ a_i^l. The proof is looked for in floating point and counts only once
    the checker has replayed it.

    Args:
      box: the starts.
      seq_len: κ, odd, 5..99.
      strength: ρ > 0; `inf` for the limit of the poisoned flow as ρ → ∞.
      options: how hard to look; the defaults take a second or two for d = 10.
      progress: called with a line of text now and then.

    Returns:
      The certificate; `certified` says whether it is one.

    Raises:
      ValueError: κ is even or out of range, ρ is not positive, or d exceeds 1000.

    Example:
      >>> from ssmbias.certify.box import default_box
      >>> certify(default_box(3), 6)
      Traceback (most recent call last):
      ValueError: seq_len=6: must be odd in the setting of Theorem 1; use 5 or 7

    References:
      Slutzky et al., The implicit bias of structured state space models can be poisoned with
      clean labels, arXiv:2410.10473, Theorem 1; docs/certificates.md.
    """
    require_flow(box, seq_len, strength)
    options = ProverOptions() if options is None else options
    strength = float(strength)
    begin = time.perf_counter()
    root = prove(box, seq_len, strength, options, progress)
    proved = time.perf_counter()
    leaves = list(root.leaves())
    slabs = tuple(slab for leaf in leaves for slab in leaf.slabs)

    def outcome(claims: tuple[float, float, float], log: bytes, reason: str) -> Certificate:
        return Certificate(
            box,
            seq_len,
            strength,
            not reason,
            *claims,
            reason=reason,
            slabs=slabs,
            seconds=(proved - begin, time.perf_counter() - proved),
            log=log,
        )

    failed = next((leaf for leaf in leaves if leaf.reason), None)
    if failed is not None:
        return outcome((math.nan, math.nan, math.nan), b"", _where(root, failed))
    claims = _claims(leaves)
    if progress is not None:
        progress("checking")
    log = _log(root, seq_len, strength, claims)
    return outcome(claims, log, _verdict(log))


def _claims(leaves: list[Node]) -> tuple[float, float, float]:
    limits = [leaf.limits for leaf in leaves if leaf.limits is not None]
    return (
        max(leaf.clean for leaf in leaves),
        min(x.lower for x in limits),
        max(x.upper for x in limits),
    )


def _log(root: Node, seq_len: int, strength: float, claims: tuple[float, float, float]) -> bytes:
    def lines() -> Any:
        yield from header_lines(root.box, seq_len, strength, claims)
        yield from record_lines(root.all_records())
        yield "qed"

    return compress(lines())


def _verdict(log: bytes) -> str:
    """Why the checker refuses the log; empty if it accepts it."""
    # The checker needs python-flint, which the prover does without.
    from ssmbias.certify.check import check  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        report = check(write_log(Path(folder) / "proof.gz", log))
    return "" if report.valid else f"refused by the checker: {report.reason}"


def _where(root: Node, failed: Node) -> str:
    """A failed leaf's reason, and which part of the box it is."""
    if failed is root:
        return failed.reason
    num = sum(1 for _ in root.leaves())
    parts = [f"delta in [{failed.box.delta[0]:.4g}, {failed.box.delta[1]:.4g}]"]
    whole = root.box.gaps
    for j, ends in enumerate(zip(*failed.box.gaps, strict=True), start=3):
        if ends != (whole[0][j - 3], whole[1][j - 3]):
            parts.append(f"D_{j} in [{ends[0]:.4g}, {ends[1]:.4g}]")
    return f"{failed.reason} (box cut into {num}; this part: {', '.join(parts)})"
