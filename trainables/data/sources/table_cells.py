"""`Cells`: a table's column as codes into its few different texts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Cells(NamedTuple):
    """Column as distinct texts and positions, so that a million rows are compared as numbers."""

    values: tuple[str, ...]
    codes: np.ndarray
    """[n] int64, positions in `values`; -1 for missing values."""

    def taken(self, rows: np.ndarray) -> Cells:
        """Cells of some rows."""
        return Cells(self.values, self.codes[rows])
