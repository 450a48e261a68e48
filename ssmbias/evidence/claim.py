"""What a claim is: a statement that can be checked, and refuted."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssmbias.core.types import AnyArray
from ssmbias.evidence.bench import Bench
from ssmbias.evidence.evidence import CheckedPremise, Kind, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class Premise:
    """A condition under which a claim speaks: words and test together.

    Attributes:
      statement: the premise in words.
      test: called with the subject and the runs; returns whether it is met, alone or with the
        number that decided, in words.

    Example:
      >>> small = Premise("the start is small", lambda subject, runs: (runs < 1, f"{runs}"))
      >>> small.check(None, 0.5)
      CheckedPremise(statement='the start is small', holds=True, detail='0.5')
    """

    statement: str
    test: Callable[[Any, Any], bool | tuple[bool, str]]

    def check(self, subject: Any, runs: Any) -> CheckedPremise:
        """Test the premise on the runs at hand."""
        found = self.test(subject, runs)
        holds, detail = found if isinstance(found, tuple) and len(found) == 2 else (found, "")
        if getattr(holds, "shape", None) == ():
            holds = np.asarray(holds).item()
        if not isinstance(holds, bool):
            raise ValueError(
                f"premise {self.statement!r}: its test returned {found!r}; expected True or False, "
                "or a tuple (True or False, the number that decided)"
            )
        return CheckedPremise(self.statement, holds, str(detail))


@dataclass(frozen=True)
class Figure:
    """A figure of a claim, drawn from the arrays that the claim saved.

    Attributes:
      name: part of a file's name; letters, digits, `_` and `-`.
      caption: what is seen, in words.
      draw: called with the arrays by name; returns a matplotlib figure.
    """

    name: str
    caption: str
    draw: Callable[[Mapping[str, np.ndarray]], Drawing]

    def __post_init__(self) -> None:
        """Refuse names that are no part of a file's name."""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ValueError(
                f"Figure(name={self.name!r}): use letters, digits, _ and -; it names a file"
            )


@dataclass(frozen=True, kw_only=True)
class Claim:
    r"""A statement about subjects of one type, with all that is needed to check it.

    The checker calls `measure` once, then `predict` and `compare`; for the negative control it
    calls `compare` again, with the prediction of `wrong` in place of that of `predict`, or with
    the runs of `wrong_measure` in place of those of `measure`. The same comparison must reject it.

    Attributes:
      id: short and stable, such as "M1-limit".
      title: a few words.
      statement: LaTeX without dollar signs.
      kind: how it is checked.
      reference: where the claim comes from.
      subject: type, or types, of the subjects that it is about; a protocol will do.
      measure: called with a subject and its `Bench`; simulates and returns the runs.
      predict: called with subject and runs; what the claim says about them.
      compare: called with subject, prediction and runs; returns one `Row` or several.
      control: what is deliberately wrong about the variant that must be rejected.
      wrong: as `predict`, for the control.
      wrong_measure: as `measure`, for a control that is another simulation.
      premises: conditions under which the claim speaks.
      row_premises: statements of further premises that `compare` puts into its rows.
      arrays: called with subject, prediction and runs; more arrays to save, by name.
      figures: drawn from the saved arrays.
      bibtex: how to cite the claim.
      family: claims that belong together, such as "identities".
      cost: seconds that a check takes on two cores, roughly.

    Example:
      >>> from ssmbias.claims.m1_limit import CLAIMS
      >>> CLAIMS[0].id, CLAIMS[0].subject.__name__
      ('M1-limit', 'Theorem1')
    """

    id: str
    title: str
    statement: str
    kind: Kind
    reference: str
    subject: Any
    measure: Callable[[Any, Bench], Any]
    predict: Callable[[Any, Any], Any]
    compare: Callable[[Any, Any, Any], Row | Sequence[Row]]
    control: str
    wrong: Callable[[Any, Any], Any] | None = None
    wrong_measure: Callable[[Any, Bench], Any] | None = None
    premises: tuple[Premise, ...] = ()
    row_premises: tuple[str, ...] = ()
    arrays: Callable[[Any, Any, Any], Mapping[str, AnyArray | float]] | None = None
    figures: tuple[Figure, ...] = ()
    bibtex: str = ""
    family: str = ""
    cost: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what could not be checked."""
        if not isinstance(self.id, str) or not re.fullmatch(r"[^\s/,\[\]=]+", self.id):
            raise ValueError(
                f"Claim(id={self.id!r}): expected a short text without blanks, commas, brackets, "
                "= and /, such as 'M1-limit'"
            )
        object.__setattr__(self, "kind", Kind(self.kind))
        if self.wrong is None and self.wrong_measure is None:
            raise ValueError(
                f"claim {self.id}: has no negative control; give wrong=, a prediction that the "
                "comparison must reject, or wrong_measure="
            )
        for field in ("measure", "predict", "compare", "wrong", "wrong_measure", "arrays"):
            value = getattr(self, field)
            if value is not None and not callable(value):
                raise ValueError(f"claim {self.id}: {field}={value!r} is no function")
        types = self.subject if isinstance(self.subject, tuple) else (self.subject,)
        if not all(inspect.isclass(kind) for kind in types):
            raise ValueError(
                f"claim {self.id}: subject={self.subject!r}: expected the class of the subjects "
                "that it is about, not an object of it"
            )
        try:
            self.speaks_of(None)
        except TypeError as error:
            raise ValueError(f"claim {self.id}: subject={self.subject!r}: {error}") from None
        for field, kind in (("premises", Premise), ("figures", Figure)):
            value = getattr(self, field)
            if not isinstance(value, tuple) or not all(isinstance(x, kind) for x in value):
                raise ValueError(
                    f"claim {self.id}: {field}={value!r}: expected a tuple of {kind.__name__}"
                    f"(...); one alone is ({kind.__name__}(...),)"
                )
        words = self.row_premises
        if not isinstance(words, tuple) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"claim {self.id}: row_premises={words!r}: expected a tuple of texts")

    def speaks_of(self, subject: Any) -> bool:
        """Whether the claim is about this subject."""
        return isinstance(subject, self.subject)

    @property
    def premises_in_words(self) -> tuple[str, ...]:
        """All premises, those of rows included."""
        return (*(premise.statement for premise in self.premises), *self.row_premises)

    @property
    def sources(self) -> tuple[Path, ...]:
        """Files in which the claim's functions are written."""
        files = {file_of(part) for part in self.functions}
        return tuple(sorted(file for file in files if file is not None))

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """All that evidence is made with; figures are drawn from it."""
        controls = (self.wrong, self.wrong_measure, self.arrays)
        tests = (premise.test for premise in self.premises)
        every = (self.measure, self.predict, self.compare, *controls, *tests)
        return tuple(function for function in every if function is not None)


def require_subject(subject: Any) -> Any:
    """A subject as it came.

    Args:
      subject: any frozen dataclass with a `name`.

    Raises:
      ValueError: it is something else.

    Example:
      >>> require_subject("t7")
      Traceback (most recent call last):
      ValueError: subject 't7': expected a frozen dataclass with a name, such as Theorem1(...)
    """
    if not dataclasses.is_dataclass(subject) or isinstance(subject, type):
        raise ValueError(
            f"subject {subject!r}: expected a frozen dataclass with a name, such as Theorem1(...)"
        )
    if not subject.__dataclass_params__.frozen:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            f"subject {subject!r}: its fields could change while it is looked at; write "
            f"@dataclass(frozen=True) above class {type(subject).__name__}"
        )
    name = getattr(subject, "name", None)
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"subject {subject!r}: needs a name, a short text that tables show")
    return subject


def file_of(thing: Any) -> Path | None:
    """The file in which a function or a class is written, if it is written in one."""
    while hasattr(thing, "func"):  # functools.partial
        thing = thing.func
    try:
        file = Path(inspect.getfile(inspect.unwrap(thing))).resolve()
    except (TypeError, OSError):  # built in, or made where there is no file
        return None
    return file if file.is_file() else None
