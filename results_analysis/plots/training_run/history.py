"""Numbers of a run's history: losses, scores and learning rates by epoch, and the stages they belong to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from trainables.run_folder.trial_columns import Report


class StageSpan(NamedTuple):
    """Epochs of a stage."""

    name: str
    first: int
    last: int


Curve = list[float]
"""A value for each epoch; NaN where there is none."""


@dataclass(frozen=True)
class History:
    """Curves of a run, over its epochs."""

    epochs: list[int]
    stages: list[StageSpan]
    best_epoch: int | None
    curves: dict[str, Curve]
    """By the name of the report's field; a curve without any number is left out."""

    def has(self, *names: str) -> list[str]:
        """Names that have a curve, of those given."""
        return [name for name in names if name in self.curves]


_ALWAYS = ("train_loss", "val_loss", "score", "train_accuracy", "accuracy", "grad_norm")


def history(reports: Sequence[Report]) -> History:
    """Reads the history from a run's epoch reports, oldest first; fields that older runs lack are left out."""
    curves = {name: _curve(report.get(name) for report in reports) for name in _ALWAYS}
    # A frozen group has a learning rate in the report, but nothing learns at it.
    curves["head_lr"] = _curve(None if report.get("head_frozen") else report.get("head_lr") for report in reports)
    curves["backbone_lr"] = _curve(report.get("backbone_lr") or None for report in reports)
    return History(
        epochs=[report["epoch"] for report in reports],
        stages=_stages(reports),
        best_epoch=(reports[-1]["best_epoch"] or None) if reports else None,
        curves={name: curve for name, curve in curves.items() if any(map(math.isfinite, curve))},
    )


def _curve(values: Iterable[float | None]) -> Curve:
    return [value if value is not None and math.isfinite(value) else math.nan for value in values]


def _stages(reports: Sequence[Report]) -> list[StageSpan]:
    spans = []
    for (_, name), own in groupby(reports, key=lambda report: (report["stage_index"], report["stage"])):
        epochs = [report["epoch"] for report in own]
        spans.append(StageSpan(str(name), epochs[0], epochs[-1]))
    return spans


def is_log(curves: Iterable[Curve], *, spread: float = 30) -> bool:
    """True where the values are positive and a linear axis would show the largest only.

    Args:
        curves: curves on one axis.
        spread: ratio of the largest to the middle value from which on the axis is logarithmic.
    """
    values = sorted(value for curve in curves for value in curve if math.isfinite(value))
    return bool(values) and values[0] > 0 and values[-1] >= spread * values[len(values) // 2]
