"""How much each image counts in the training loss, as a table's column says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainables.core.config_errors import Problem, listed


def weight_problems(values: Sequence[str], codes: np.ndarray, rows: np.ndarray) -> list[Problem]:
    """One problem with the rows whose weight is no number from 0, or that all weigh nothing; or none.

    Args:
        values: the different texts of the column.
        codes: [n] positions in `values`; -1 where nothing is known, which is a problem of its own.
        rows: [n] positions in the table, counted from 0 below the header.
    """
    wrong = [i for i, value in enumerate(values) if not _is_weight(value)]
    if len(found := np.flatnonzero(np.isin(codes, wrong))):
        named = listed([f"{rows[i] + 1} ({values[codes[i]]!r})" for i in found.tolist()])
        many = "rows have" if len(found) > 1 else "row has"
        return [_problem(f"{len(found)} {many} no weight, a number from 0, counted from 1 below the header: {named}")]
    if len(codes) and not any(float(values[code]) for code in np.unique(codes[codes >= 0]).tolist()):
        return [_problem("all weights are 0: no image would count")]
    return []


def weight_names(values: Sequence[str]) -> list[str]:
    """One text for each number, however it is written; what is no weight, as rows nobody reads may hold it, is `nan`."""
    return [repr(float(value)) if _is_weight(value) else "nan" for value in values]


def _is_weight(value: str) -> bool:
    try:
        number = float(value)
    except ValueError:
        return False
    return number >= 0 and math.isfinite(number)


def _problem(message: str) -> Problem:
    return Problem(("data", "columns", "weight"), message)
