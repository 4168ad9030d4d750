"""`Cells`: a table's column as codes into its few different texts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Cells(NamedTuple):
    """A column as few different texts and many positions: a million rows are compared as numbers."""

    values: tuple[str, ...]
    codes: np.ndarray
    """[n] int64, positions in `values`; -1 where nothing is known."""

    def taken(self, rows: np.ndarray) -> Cells:
        """The cells of some rows."""
        return Cells(self.values, self.codes[rows])
