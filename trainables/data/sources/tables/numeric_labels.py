"""Labels that are numbers: the targets of regression."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainables.core.config_errors import Problem, listed
from trainables.recipe.data_settings.target_settings import Transform

if TYPE_CHECKING:
    from trainables.data.sources.tables.table_cells import Cells

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
"""Pattern of numbers in a table. Python's `float` would also accept `1_000` and `infinity`."""


def number_in(text: str) -> float | None:
    """Parses the number in a cell, exact to the last bit; None if there is none, or it is too large for a float."""
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    return (
        number + 0.0 if math.isfinite(number) else None
    )  # -0.0 + 0.0 is 0.0, so that equal numbers have the same name


def without_number(labels: Cells, rows: np.ndarray | None) -> list[Problem]:
    """Problem that lists the rows whose label is not a number, with their content; empty if there are none.

    Args:
        labels: the column of labels.
        rows: positions in the table of the rows of `labels`; None: all rows.
    """
    wrong = [i for i, text in enumerate(labels.values) if number_in(text) is None]
    bad = np.flatnonzero((labels.codes < 0) | np.isin(labels.codes, wrong))
    if not len(bad):
        return []
    at = (bad if rows is None else rows[bad]) + 1
    texts = ["empty" if code < 0 else repr(labels.values[code]) for code in labels.codes[bad].tolist()]
    named = listed([f"{row} ({text})" for row, text in zip(at.tolist(), texts, strict=True)])
    many = "rows have" if len(bad) > 1 else "row has"
    message = f"{len(bad)} {many} no finite number (row numbers count from 1 below the header): {named}"
    return [Problem(("data", "columns", "label"), message)]


_ABOVE: Mapping[Transform, float] = {"log": 0.0, "log1p": -1.0}
"""Bound of the targets of a transform."""


def untransformable(targets: np.ndarray, files: Sequence[str], transform: Transform) -> list[Problem]:
    """Problem that lists the images whose target has no such transform; empty if there are none.

    Args:
        targets: [n] number of each image.
        files: [n] images as the table names them.
        transform: `data.target.transform`.
    """
    bound = _ABOVE.get(transform, -math.inf)
    bad = np.flatnonzero(targets <= bound)
    if not len(bad):
        return []
    named = listed([f"{files[i]} ({targets[i]:g})" for i in bad.tolist()])
    other = "log1p for counts from 0, or rank" if transform == "log" else "rank"
    found = f"{len(bad)} of {len(targets)} images have none: {named}"
    message = f"{transform!r} needs targets above {bound:g}, but {found}; use {other}"
    return [Problem(("data", "target", "transform"), message)]


def by_number(labels: Cells) -> Cells:
    """Renames labels to their numbers, in ascending order; `1`, `1.0` and `1e0` become the same label.

    Args:
        labels: cells whose values, as far as they occur, are numbers.
    """
    numbers = [number_in(text) for text in labels.values]
    found = np.array([math.nan if number is None else number for number in numbers])[labels.codes]
    values, codes = np.unique(found, return_inverse=True)
    return labels._replace(values=tuple(map(repr, values.tolist())), codes=codes.astype(np.int64))
