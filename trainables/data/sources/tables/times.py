"""Times of images, from a table's column: numbers such as years, or dates."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from trainables.core.config_errors import Problem, listed
from trainables.data.sources.tables.numeric_labels import number_in

_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)


def time_in(text: str) -> float | None:
    """Parses the time in a cell: a number as it is; an ISO date, such as 2014-05-31 or 2014-05, as a year with its fraction.

    None if it is neither.
    """
    if (number := number_in(text)) is not None:
        return number
    try:
        moment = datetime.fromisoformat(f"{text}-01" if _MONTH.fullmatch(text) else text)
    except ValueError:
        return None
    days = 365 + calendar.isleap(moment.year)
    return moment.year + (moment.timetuple().tm_yday - 1 + moment.hour / 24) / days


def time_problems(values: Sequence[str], codes: np.ndarray, rows: np.ndarray) -> list[Problem]:
    """Problem that lists the rows whose time is neither a number nor a date; empty if there are none.

    Args:
        values: distinct texts of the column.
        codes: [n] positions in `values`; -1 for missing values, which are reported elsewhere.
        rows: [n] positions in the table, counted from 0 below the header.
    """
    found = np.flatnonzero(np.isin(codes, [i for i, value in enumerate(values) if time_in(value) is None]))
    if not len(found):
        return []
    named = listed([f"{rows[i] + 1} ({values[codes[i]]!r})" for i in found.tolist()])
    many = "rows have" if len(found) > 1 else "row has"
    counted = "row numbers count from 1 below the header"
    message = f"{len(found)} {many} neither a number nor a date such as 2014-05-31 ({counted}): {named}"
    return [Problem(("data", "columns", "time"), message)]


def times_of(values: Sequence[str], codes: np.ndarray) -> np.ndarray:
    """Times of rows, [n] float64.

    Args:
        values: distinct texts of the column, of which those that occur are times.
        codes: [n] positions in `values`.
    """
    times: np.ndarray = np.array([time_in(value) or 0.0 for value in values], np.float64)[codes]
    return times
