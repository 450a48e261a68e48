"""The smallest setting in which a claim fails, found by Hypothesis."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ssmbias.core.checks import require_int, require_x64
from ssmbias.core.verdict import Verdict
from ssmbias.evidence import Bench, Claim, Evidence, check, require_subject
from ssmbias.report.evidence_list import EvidenceList
from ssmbias.runs.describe import described


class Counterexample(NamedTuple):
    """A subject that refutes a claim.

    Attributes:
      subject: the smallest one that was found.
      evidence: its rows, of which at least one is violated.
    """

    subject: Any
    evidence: EvidenceList

    def __str__(self) -> str:
        """The subject and its evidence."""
        return f"{self.subject}\n{self.evidence}"


def smallest_counterexample(
    claim: Claim,
    subjects: Any,
    build: Callable[..., Any] | None = None,
    *,
    max_checks: int = 100,
    rtol: float = 1e-10,
) -> Counterexample | None:
    """Look for a subject that refutes a claim, and then for the smallest one.

    Subjects are drawn until the claim is violated on one; then each parameter in turn is made
    smaller for as long as the claim stays violated. At the end no single parameter can be made
    smaller. If `max_checks` suffices for all subjects, all of them are tried before the claim is
    said to hold. A row that is inconclusive refutes nothing. The same call gives the same answer.

    Args:
      claim: the claim.
      subjects: values of each parameter by name, from the smallest on, such as
        `{"seq_len": [5, 7, 9], "state_dim": range(2, 20)}`; earlier parameters are made small
        first. Or a list of subjects, the smallest first. Either may also be a Hypothesis strategy.
      build: called with one value of each parameter by name; returns a subject, or `None` for
        values that do not go together. `None` is the claim's own type of subject.
      max_checks: the most subjects on which the claim is checked.
      rtol: tolerance of one step of an integrator.

    Returns:
      The subject and its evidence; `None` if the claim is violated on none that was tried.

    Raises:
      ValueError: there is nothing to draw from, double precision is off, or Hypothesis is not
        installed. What the claim raises is handed on.

    Example:
      >>> from ssmbias.claims.m4_tied import CLAIMS
      >>> from ssmbias.subjects import Theorem1
      >>> def build(seq_len, state_dim):
      ...     return Theorem1("small", seq_len, state_dim, init_scale=1e-3, gap=1e-6)
      >>> ranges = {"seq_len": [5, 7], "state_dim": [3]}
      >>> print(smallest_counterexample(CLAIMS[0], ranges, build))
      None
    """
    require_x64("smallest_counterexample")
    require_int("max_checks", max_checks, minimum=1)
    try:
        hypothesis = importlib.import_module("hypothesis")
    except ImportError as error:
        raise ValueError(
            "smallest_counterexample: needs Hypothesis, which is not installed; "
            "pip install 'ssmbias[shrink]'"
        ) from error
    search = _Search(claim, max_checks, rtol)
    drawn = _strategy(hypothesis, claim, subjects, build)
    settings = hypothesis.settings(
        # Subjects that are refused or drawn again cost nothing.
        max_examples=10 * max_checks,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
    )
    try:
        hypothesis.find(drawn, search.refutes, settings=settings)
    except hypothesis.errors.NoSuchExample:
        if not search.checked:
            raise ValueError("build: made no subject of any of the values") from None
        return None
    finally:
        if search.error is not None:
            raise search.error
    return search.smallest


class _Search:
    """Checks subjects, each once, until the budget is spent.

    Attributes:
      smallest: the last subject that Hypothesis saw refute the claim and chose to keep.
      error: what a check raised; the search then ends.
    """

    def __init__(self, claim: Claim, max_checks: int, rtol: float) -> None:
        self.smallest: Counterexample | None = None
        self.error: Exception | None = None
        self._claim, self._left, self._rtol = claim, max_checks, rtol
        self._known: dict[str, list[Evidence]] = {}

    def refutes(self, subject: Any) -> bool:
        """Whether a subject refutes the claim; `False` once the budget is spent."""
        if self.error is not None:
            return True  # the quickest end
        if subject is None:
            return False
        try:
            rows = self._evidence(subject)
        except Exception as error:
            self.error = error
            return True
        violated = any(row.verdict is Verdict.VIOLATED for row in rows)
        if violated:
            # Hypothesis ends with a look at the smallest one.
            self.smallest = Counterexample(subject, EvidenceList(rows))
        return violated

    @property
    def checked(self) -> int:
        """On how many subjects the claim was checked."""
        return len(self._known)

    def _evidence(self, subject: Any) -> list[Evidence]:
        key = json.dumps(described(require_subject(subject)), sort_keys=True)
        if key not in self._known:
            if not self._left:
                return []
            self._left -= 1
            self._known[key] = check(self._claim, subject, Bench(subject, self._rtol))
        return self._known[key]


def _strategy(hypothesis: Any, claim: Claim, subjects: Any, build: Any) -> Any:
    """What Hypothesis draws subjects from."""
    strategies = importlib.import_module("hypothesis.strategies")

    def one(name: str, values: Any) -> Any:
        if isinstance(values, strategies.SearchStrategy):
            return values
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise ValueError(
                f"{name}={values!r}: expected values from the smallest on, such as range(2, 20)"
            )
        found = list(values)
        if not found:
            raise ValueError(f"{name}={values!r}: gives no value to try")
        return strategies.sampled_from(found)

    if not isinstance(subjects, Mapping):
        if build is not None:
            raise ValueError(
                "build: is for parameters by name; give subjects={name: values}, or leave it out"
            )
        return one("subjects", subjects)
    if not subjects:
        raise ValueError("subjects={}: name at least one parameter, with its values")
    if build is None and not isinstance(claim.subject, type):
        raise ValueError(
            f"build: claim {claim.id} is about several types; give the function that makes one"
        )
    make = claim.subject if build is None else build
    parameters = {name: one(name, values) for name, values in subjects.items()}

    def made(values: dict[str, Any]) -> Any:
        try:
            inspect.signature(make).bind(**values)
        except TypeError as error:
            raise ValueError(
                f"subjects={list(values)}: {getattr(make, '__name__', 'build')} takes other "
                f"parameters ({error})"
            ) from None
        return make(**values)

    return strategies.fixed_dictionaries(parameters).map(made)
