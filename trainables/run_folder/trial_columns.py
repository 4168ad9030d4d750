"""Columns of a table of trials that follow from fields of the epoch reports: where they stand and how they are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from trainables.core.vocabulary import Flag, Metric, Task

Report = Mapping[str, Any]
"""A line of `epochs.jsonl`."""

DIAGNOSTICS: dict[str, Task] = {"classes_predicted": "classification", "prediction_spread": "regression"}
"""Validation scalars that no trial is scored by, and the task that has them."""
AT_BEST = (*(metric.value for metric in Metric), *DIAGNOSTICS)
"""Validation scalars of the best epoch that have a column each."""


class Part(IntEnum):
    """Parts of a trial's row, from left to right."""

    RESULT = 0
    PROGRESS = 1
    METRICS = 2
    WARNINGS = 3
    COSTS = 4


@dataclass(frozen=True)
class Column:
    """A column that follows from one field of the reports."""

    part: Part
    """Part of the table it stands in; within a part columns stand in the order of the fields."""
    rule: Callable[[str, Sequence[Report]], Any]
    """Name of the field and at least one report -> the trial's value."""
    kind: Any = str | None
    """Type of the values."""
    name: str | None = None
    """None: the field's."""
    empty: Any = None
    """Value of a trial without epochs."""


def best_report(reports: Sequence[Report]) -> Report | None:
    """Report of the best epoch so far; None before one had a score."""
    number = reports[-1]["best_epoch"] if reports else None
    return next((report for report in reports if report["epoch"] == number), None)


def listed(flags: Iterable[str]) -> str:
    """Lists flags as text, such as `spike, gap`: each once, in the order of `Flag`."""
    raised = set(flags)
    return ", ".join(flag for flag in Flag if flag in raised) if raised else ""


# --- rules ----------------------------------------------------------------------------------------------------------


def last(field: str, reports: Sequence[Report]) -> Any:
    """Value of the newest epoch."""
    return reports[-1][field]


def last_unless_zero(field: str, reports: Sequence[Report]) -> Any:
    """Value of the newest epoch; None for 0, as of the best epoch before one had a score."""
    return reports[-1][field] or None


def total(field: str, reports: Sequence[Report]) -> float:
    """Sum over all epochs."""
    return float(sum(report[field] for report in reports))


def raised(field: str, reports: Sequence[Report]) -> str:
    """Flags of all epochs."""
    return listed(flag for report in reports for flag in report[field])


def raised_at_best(field: str, reports: Sequence[Report]) -> str | None:
    """Flags of the best epoch."""
    best = best_report(reports)
    return None if best is None else listed(best[field])


def at_best(field: str, reports: Sequence[Report]) -> Any:
    """Value of the best epoch."""
    best = best_report(reports)
    return None if best is None else best[field]


def scalars_at_best(_: str, reports: Sequence[Report]) -> dict[str, float | None]:
    """Validation scalars of the best epoch, which stand in the reports beside the fields."""
    best = best_report(reports) or {}
    return {name: best[name] for name in AT_BEST if name in best}


def own_total(field: str, reports: Sequence[Report]) -> Any:
    """Value of a field that adds up over epochs, without what inherited epochs brought along."""
    value = reports[-1][field]
    inherited = [report[field] for report in reports if report["inherited"]]
    return value if value is None or not inherited else value - (inherited[-1] or 0)
