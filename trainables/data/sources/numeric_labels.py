"""Labels that are numbers: the targets of regression."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from trainables.core.config_errors import Problem, listed

if TYPE_CHECKING:
    from trainables.data.sources.table_cells import Cells

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
"""What a table writes. Python alone would take `1_000` and `infinity`, too."""


def number_in(text: str) -> float | None:
    """The number that a cell says, to the last bit; None where it says none, or one too large to be told from infinity."""
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    return number + 0.0 if math.isfinite(number) else None  # -0.0 + 0.0 is 0.0: one number has one name


def without_number(labels: Cells, rows: np.ndarray | None) -> list[Problem]:
    """One problem that lists the rows which say no number, and what they say; or none.

    Args:
        rows: positions in the table of the rows that are left of it; None: all are.
    """
    wrong = [i for i, text in enumerate(labels.values) if number_in(text) is None]
    bad = np.flatnonzero((labels.codes < 0) | np.isin(labels.codes, wrong))
    if not len(bad):
        return []
    at = (bad if rows is None else rows[bad]) + 1
    said = ["nothing" if code < 0 else repr(labels.values[code]) for code in labels.codes[bad].tolist()]
    named = listed([f"{row} ({text})" for row, text in zip(at.tolist(), said, strict=True)])
    many = "rows have" if len(bad) > 1 else "row has"
    message = f"{len(bad)} {many} no finite number, counted from 1 below the header: {named}"
    return [Problem(("data", "columns", "label"), message)]


def by_number(labels: Cells) -> Cells:
    """The numbers that occur, ascending, each by the one name that `float` reads back; `1`, `1.0` and `1e0` are one.

    Args:
        labels: all of them numbers where they occur.
    """
    numbers = [number_in(text) for text in labels.values]
    found = np.array([math.nan if number is None else number for number in numbers])[labels.codes]
    values, codes = np.unique(found, return_inverse=True)
    return labels._replace(values=tuple(map(repr, values.tolist())), codes=codes.astype(np.int64))
