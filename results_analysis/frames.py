"""Epoch reports as frames: curves, what belongs to each class, confusion. Pure functions of reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields as fields_of
from typing import TYPE_CHECKING, Any

from trainables.layout import Metric
from trainables.problems import nearest
from trainables.report import EpochReport
from trainables.summary import listed

if TYPE_CHECKING:
    import pandas as pd

Reports = Sequence[dict[str, Any]]

_OF_CLASSES = ("per_class", "confusion")


def curves_of(trials: Iterable[tuple[int, Reports]], fields: Sequence[str]) -> pd.DataFrame:
    """`trial`, `epoch` and a few fields of all epochs; missing where a report has none.

    Raises:
        ValueError: if a field is not one number or word an epoch, or no report can have it.
    """
    wanted = dict.fromkeys(fields)
    if nested := [field for field in wanted if field in _OF_CLASSES]:
        raise ValueError(f"{nested[0]} is not one value an epoch: see per_class() and confusion()")
    columns: dict[str, list[Any]] = {"trial": [], "epoch": []} | {field: [] for field in wanted}
    seen: set[str] = set()
    for number, reports in trials:
        _extend(columns, number, reports)
        seen.update(*reports[-1:])
    known = {*seen, *(field.name for field in fields_of(EpochReport)), *Metric, "trial"} - {*_OF_CLASSES, "metrics"}
    if unknown := [field for field in wanted if seen and field not in known]:
        raise ValueError(f"no field {unknown[0]!r} in the epochs' reports; {nearest(unknown[0], sorted(known))}")
    return _frame(columns)


def epochs_of(trials: Iterable[tuple[int, Reports]]) -> pd.DataFrame:
    """All fields of all epochs but those of each class, one row an epoch."""
    columns: dict[str, list[Any]] = {"trial": [], "epoch": []}
    for number, reports in trials:
        rows = len(columns["trial"])
        for name in dict.fromkeys(name for report in reports for name in report if name not in _OF_CLASSES):
            columns.setdefault(name, [None] * rows)
        _extend(columns, number, reports)
    return _frame(columns)


def _extend(columns: dict[str, list[Any]], number: int, reports: Reports) -> None:
    for name, values in columns.items():
        values.extend([number] * len(reports) if name == "trial" else [report.get(name) for report in reports])


def _frame(columns: dict[str, list[Any]]) -> pd.DataFrame:
    import pandas as pd

    if "flags" in columns:
        columns["flags"] = [None if flags is None else listed(flags) for flags in columns["flags"]]
    numbers = {name: pd.Series(columns.pop(name), dtype="int64") for name in ("trial", "epoch")}
    return pd.DataFrame({**numbers, **{name: series(columns.pop(name)) for name in list(columns)}})


def series(values: list[Any]) -> pd.Series[Any]:
    """Values with the narrowest type that holds them, so that 5 stays 5 where another row has none."""
    import pandas as pd

    kinds = set(map(type, values)) - {type(None)}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        return pd.Series(values, dtype="Int64")
    if kinds == {str}:
        return pd.Series(values, dtype="string")
    return pd.Series(values, dtype="float64" if kinds <= {int, float} else "object")
