"""Weights of images in the training loss, from a table's column."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, listed


def weight_problems(values: Sequence[str], codes: np.ndarray, rows: np.ndarray) -> list[Problem]:
    """Problem that lists the rows whose weight is not a number of at least 0, or says that all weights are 0; empty if neither.

    Args:
        values: distinct texts of the column.
        codes: [n] positions in `values`; -1 for missing values, which are reported elsewhere.
        rows: [n] positions in the table, counted from 0 below the header.
    """
    wrong = [i for i, value in enumerate(values) if not _is_weight(value)]
    if len(found := np.flatnonzero(np.isin(codes, wrong))):
        named = listed([f"{rows[i] + 1} ({values[codes[i]]!r})" for i in found.tolist()])
        many = "rows have" if len(found) > 1 else "row has"
        counted = "row numbers count from 1 below the header"
        return [_problem(f"{len(found)} {many} no number of at least 0 ({counted}): {named}")]
    if len(codes) and not any(float(values[code]) for code in np.unique(codes[codes >= 0]).tolist()):
        return [_problem("all weights are 0: no image would count")]
    return []


def check_each_class_weighs(weights: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
    """Checks that no class has weights of 0 alone, which would train as if it were not there.

    Args:
        weights: [n] weight of each image.
        labels: [n] positions in `classes`.
        classes: class names; none in regression.
    Raises:
        ConfigError: at `data.columns.weight`.
    """
    sums = np.bincount(labels, weights, minlength=len(classes))
    if lost := [repr(name) for name, total in zip(classes, sums.tolist(), strict=False) if not total]:
        raise ConfigError([_problem(f"all images of {listed(lost)} weigh 0; drop them in data.labels instead")])


def weight_names(values: Sequence[str]) -> list[str]:
    """Same text for equal numbers, however they are written; `nan` for texts that are not weights, which unused rows may have."""
    return [repr(float(value)) if _is_weight(value) else "nan" for value in values]


def _is_weight(value: str) -> bool:
    try:
        number = float(value)
    except ValueError:
        return False
    return number >= 0 and math.isfinite(number)


def _problem(message: str) -> Problem:
    return Problem(("data", "columns", "weight"), message)
