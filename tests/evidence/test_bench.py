"""The bench: runs that are made once, kept as long as they are needed, with what they saved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmbias.evidence import Bench


@dataclass(frozen=True)
class Coin:
    """A subject that is no SSM."""

    name: str = "coin"
    bias: float = 0.5


@dataclass(frozen=True)
class Holder:
    name: str
    coin: Coin


class TestBench:
    def test_equal_subjects_share_their_runs(self) -> None:
        bench, made = Bench(Coin()), []
        for _ in range(2):
            bench.on(Coin()).once("runs", lambda: made.append(1))
        bench.on(Coin(bias=0.1)).once("runs", lambda: made.append(2))
        assert made == [1, 2]

    def test_runs_of_subjects_that_are_fields_are_kept(self) -> None:
        bench = Bench(None)
        coin, other = Coin(), Coin("other")
        for subject in (coin, other):
            bench.on(subject).once("runs", lambda subject=subject: subject.name)
        bench.forget_all_but([Holder("holder", coin)])
        assert bench.on(coin).once("runs", lambda: "again") == "coin"
        assert bench.on(other).once("runs", lambda: "again") == "again"

    def test_arrays_saved_by_shared_runs_are_everybodys(self) -> None:
        memory = Bench(None)
        first, second = memory.on(Coin()), memory.on(Coin())
        first.save("own", 1.0)
        for bench in (first, second):
            bench.once("runs", lambda bench=bench: bench.save("shared", 2.0))
        assert first.arrays == {"own": 1.0, "shared": 2.0}
        assert second.arrays == {"shared": 2.0}

    def test_a_subject_with_arrays_is_known_by_itself(self) -> None:
        @dataclass(frozen=True)
        class Data:
            name: str
            x: np.ndarray

        one, two = Data("x", np.zeros(3)), Data("x", np.zeros(3))
        bench = Bench(None)
        assert bench.on(one).once("runs", lambda: 1) == 1
        assert bench.on(two).once("runs", lambda: 2) == 2
        assert bench.on(one).once("runs", lambda: 3) == 1
