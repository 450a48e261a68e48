"""A list of evidence that shows itself, in a notebook and on a terminal, and writes its report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class EvidenceList(list[Any]):
    """Evidence in a list."""

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
