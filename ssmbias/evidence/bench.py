"""Where the runs about a subject are made once and kept, with the arrays for its figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol

import numpy as np

from ssmbias.core.types import AnyArray


class Subject(Protocol):
    """What a claim is about: any frozen dataclass with a `name`.

    Its fields are what a report and a fingerprint say about it.
    """

    @property
    def name(self) -> str:
        """Label in tables."""
        ...


class Bench:
    """The work-bench of one subject.

    Attributes:
      subject: what the runs are about.
      rtol: tolerance of one step of an integrator.
      arrays: what was saved for figures, by name.

    Example:
      >>> from ssmbias.subjects import Theorem1
      >>> bench = Bench(Theorem1("t5", 5, 4, 1e-3, 1e-6))
      >>> bench.once("runs", lambda: print("made")), bench.once("runs", lambda: print("made"))
      made
      (None, None)
    """

    def __init__(
        self, subject: Any, rtol: float = 1e-10, *, memory: dict[Hashable, dict] | None = None
    ) -> None:
        self.subject = subject
        self.rtol = rtol
        self.arrays: dict[str, np.ndarray] = {}
        self._memory: dict[Hashable, dict] = {} if memory is None else memory

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, made when first asked for under this name and kept.

        Arrays that `make` saves are kept with it, for every claim that asks.
        """
        kept = self._memory.setdefault(_key(self.subject), {})
        if name not in kept:
            before, self.arrays = self.arrays, {}
            try:
                kept[name] = make(), self.arrays
            finally:
                self.arrays = before
        value, saved = kept[name]
        self.arrays |= saved
        return value

    def save(self, name: str, value: AnyArray | float) -> None:
        """Keep an array for figures and for `arrays.npz`, there `<subject>/<name>`."""
        self.arrays[name] = np.asarray(value)

    def on(self, subject: Any) -> Bench:
        """The bench of another subject, such as one that is a field of this one.

        What either makes is found by both; its arrays are its own.
        """
        return Bench(subject, self.rtol, memory=self._memory)

    def forget_all_but(self, subjects: Iterable[Any]) -> None:
        """Drop all runs but those of `subjects` and of subjects that are fields of them."""
        wanted = {_key(part) for subject in subjects for part in _parts(subject)}
        for key in [key for key in self._memory if key not in wanted]:
            del self._memory[key]


def _key(subject: Any) -> Hashable:
    """Equal subjects share their runs; one with arrays among its fields is known by itself."""
    try:
        hash(subject)
    except TypeError:
        return id(subject)
    return (type(subject), subject)


def _parts(subject: Any) -> list[Any]:
    """A subject and the subjects among its fields."""
    parts = [subject]
    for field in dataclasses.fields(subject):
        value = getattr(subject, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            parts += _parts(value)
    return parts
