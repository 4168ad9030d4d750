"""`Cells`: a table's column as codes into its few different texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    def merged(self, key: Callable[[str], str]) -> Cells:
        """Cells whose values with the same key are one: the first of them, as it is written."""
        keys = [key(value) for value in self.values]
        first = dict(zip(reversed(keys), reversed(self.values), strict=True))
        if len(first) == len(keys):
            return self
        return Cells.renamed([first[key] for key in keys], [first[key] for key in dict.fromkeys(keys)], self.codes)

    @classmethod
    def renamed(cls, names: Sequence[str], values: Sequence[str], codes: np.ndarray) -> Cells:
        """Cells with new names, several of which may be the same.

        Args:
            names: new name of each value of `codes`.
            values: distinct new names.
            codes: [n] positions in `names`; -1 for missing values.
        """
        position = {name: i for i, name in enumerate(values)}
        return cls(tuple(values), np.array([*(position.get(name, -1) for name in names), -1], np.int64)[codes])
