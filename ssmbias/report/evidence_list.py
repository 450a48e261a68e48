"""A list of evidence that shows itself, in a notebook and on a terminal, and writes its report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np

from ssmbias.report.cells import Badge
from ssmbias.report.pages.verification import (
    FLOATS,
    evidence_records,
    verdict_table,
    write_report_of,
)
from ssmbias.report.render import render
from ssmbias.report.results import count_verdicts
from ssmbias.report.table import Table
from ssmbias.report.terminal import FittingTable, printed
from ssmbias.runs.files import ARRAYS_FILE, RESULTS_FILE, SCHEMA, plain, write_arrays, write_json

if TYPE_CHECKING:
    import pandas as pd

# Wide enough for all numbers, where nobody says how wide the terminal is.
_WIDTH = 100


class EvidenceList(list[Any]):
    """Evidence in a list: `print` shows a table, a notebook too.

    Slices are lists of evidence as well.

    Args:
      rows: `Evidence`, or rows of the "evidence" of `results.json`.
      results: the rest of `results.json`, as far as it is known: claims, subjects, provenance.
      arrays: what was saved for figures, by name.
      draw: called with a folder, draws the claims' own figures into it and returns their entries
        for the "figures" of `results.json`.

    Example:
      >>> row = {"claim": "B1", "subject": "t7", "verdict": "holds", "quantity": "error"}
      >>> found = EvidenceList([row | {"kind": "bound", "residual": 0.0, "tolerance": 1e-9}])
      >>> found.to_dataframe()[["claim", "verdict", "tolerance"]].values.tolist()
      [['B1', 'holds', 1e-09]]
    """

    def __init__(
        self,
        rows: Iterable[Any] = (),
        results: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        *,
        draw: Callable[[Path], Sequence[Mapping[str, Any]]] | None = None,
    ) -> None:
        super().__init__(rows)
        self.results = dict(results or {})
        self.arrays = dict(arrays or {})
        self._draw = draw

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> EvidenceList: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        """One piece of evidence, or the list of some of them."""
        found = super().__getitem__(index)
        if not isinstance(index, slice):
            return found
        return EvidenceList(found, self.results, self.arrays, draw=self._draw)

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each piece of evidence, and a column for each of its numbers and words."""
        import pandas as pd  # noqa: PLC0415  (slow to import, needed only here)

        frame = pd.DataFrame(evidence_records(self._rows()))
        # A number that no row has is nan, not an object.
        return frame.astype({name: float for name in frame if name in FLOATS})

    def write_report(self, folder: str | Path) -> Path:
        """Write `results.json`, `arrays.npz`, the figures and `report.html`.

        Args:
          folder: made if it is not there.

        Returns:
          The page.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        results = self._all_results()
        if self._draw is not None:
            (folder / "figures").mkdir(exist_ok=True)
            results["figures"] = [plain(entry) for entry in self._draw(folder)]
        write_arrays(folder / ARRAYS_FILE, self.arrays)
        write_json(folder / RESULTS_FILE, results)
        return write_report_of(results, self.arrays, folder)

    def table(self) -> Table:
        """The table of verdicts, which can be printed and written in several formats."""
        return verdict_table({"evidence": self._rows()})

    def __rich__(self) -> FittingTable:
        """What `rich` prints."""
        return self.table().terminal()

    def __str__(self) -> str:
        """The table, as wide as the terminal."""
        width = shutil.get_terminal_size((_WIDTH, 24)).columns
        lines = printed(self.table(), width).rstrip().splitlines()
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        table = self.table()
        notes = [(note, Badge(note.tone)) for note in table.notes]
        return render("notebook.html", table=table, notes=notes)

    def _rows(self) -> list[dict[str, Any]]:
        return [dict(row) if isinstance(row, Mapping) else _as_mapping(row) for row in self]

    def _all_results(self) -> dict[str, Any]:
        """`results.json` about the rows of this list."""
        rows = self._rows()
        names = list(dict.fromkeys(str(row["claim"]) for row in rows))
        known = self.results.get("claims") or {}
        return plain(
            {
                **self.results,
                "schema": SCHEMA,
                "claims": {name: known.get(name, {}) for name in names},
                "evidence": rows,
                "summary": count_verdicts({"evidence": rows}),
            }
        )


def _as_mapping(row: Any) -> dict[str, Any]:
    """A piece of `Evidence` as it stands in `results.json`."""
    # Rows that were read back need nothing of the checker.
    from ssmbias.evidence.records import evidence_to_json  # noqa: PLC0415

    return plain(evidence_to_json(row))
