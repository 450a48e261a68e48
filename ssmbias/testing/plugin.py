"""The pytest plugin: `pytest --ssmbias my_claims.py` turns each row of evidence into a test.

One test item is one claim on one subject, measured once; each row of its evidence is reported as
a test of its own. `ssmbias.testing.entry` adds the option, and loads this module if it is given.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from _pytest.runner import runtestprotocol

from ssmbias.evidence import Bench, check
from ssmbias.testing.assertions import describe, holds, value_of
from ssmbias.verification import plan


def pytest_configure(config: pytest.Config) -> None:
    """Collect the files: they alone, unless other paths were asked for as well."""
    named = config.args if config.args_source == pytest.Config.ArgsSource.ARGS else []
    known = {(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in named}
    config.args = [*named, *(str(file) for file in _files(config) if file not in known)]


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    """Collect claims where pytest would look for test functions."""
    if module_path.resolve() not in _files(parent.config):
        return None
    return ClaimsFile.from_parent(parent, path=module_path)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Report the rows of a check one by one."""
    if not isinstance(item, ClaimItem):
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        for part in _by_row(report, item) if report.when == "call" else [report]:
            hook.pytest_runtest_logreport(report=part)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """Name the row in verbose output."""
    quantity = getattr(report, "ssmbias_quantity", None)
    if quantity is None:
        return None
    passed = report.outcome == "passed"
    word = "PASSED" if passed else "FAILED"
    return report.outcome, "." if passed else "F", f"{word} ({quantity})"


class ClaimsFile(pytest.File):
    """The claims of a file with the subjects that they speak of."""

    def collect(self) -> Iterable[ClaimItem]:
        """An item for each claim and subject."""
        with double_precision():
            try:
                job = plan([self.path])
            except ValueError as error:
                raise self.CollectError(str(error)) from None
        bench = Bench(None, job.rtol)
        for claim, subject in job.pairs:
            name = f"{claim.id}[{subject.name}]"
            yield ClaimItem.from_parent(self, name=name, claim=claim, bench=bench.on(subject))


class ClaimItem(pytest.Item):
    """One claim on one subject.

    Attributes:
      claim: the claim.
      bench: where the runs about the subject are kept; the items of a file share them.
      rows: evidence, when it has run.
    """

    def __init__(self, *, claim: Any, bench: Any, **rest: Any) -> None:
        super().__init__(**rest)
        self.claim, self.bench, self.rows = claim, bench, []

    def runtest(self) -> None:
        """Check the claim."""
        self.rows = []
        with double_precision():
            self.rows = check(self.claim, self.bench.subject, self.bench)
        if not all(map(holds, self.rows)):
            raise RowsDoNotHold

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The rows that do not hold; of an error of the claim, where it was raised."""
        if isinstance(excinfo.value, RowsDoNotHold):
            return "\n".join(describe(row) for row in self.rows if not holds(row))
        # What the checker and this plugin did before is of no use to the author of the claim.
        own = excinfo.traceback.filter(lambda entry: _PACKAGE not in Path(entry.path).parents)
        excinfo.traceback = own or excinfo.traceback
        return super().repr_failure(excinfo, "long")

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where pytest says that the item stands."""
        return self.path, None, self.name


class RowsDoNotHold(Exception):
    """Raised by an item of which some row does not hold."""


_PACKAGE = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Double precision for what is in the block; other tests of the session keep theirs."""
    with jax.enable_x64(True):
        yield


def _files(config: pytest.Config) -> list[Path]:
    folder = config.invocation_params.dir
    return [(folder / file).resolve() for file in config.getoption("--ssmbias") or ()]


def _by_row(report: pytest.TestReport, item: ClaimItem) -> list[pytest.TestReport]:
    """A report for each row; the report itself if there are none, for then the check broke off."""
    parts = []
    # Rows that hold first: pytest forgets a failure if a report of the same item passes after it.
    for row in sorted(item.rows, key=holds, reverse=True):
        part = copy.copy(report)
        quantity = str(value_of(row, "quantity"))
        part.outcome = "passed" if holds(row) else "failed"
        part.longrepr = None if holds(row) else describe(row)
        part.location = (*report.location[:2], f"{item.name} {quantity}")
        part.duration = report.duration / len(item.rows)
        part.sections = [] if parts else report.sections
        part.ssmbias_quantity = quantity  # pyright: ignore[reportAttributeAccessIssue]
        parts.append(part)
    return parts or [report]
