"""Points of a run's curves, under the names by which TensorBoard and W&B group them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.core.vocabulary import WEIGHTS, Flag, Metric, metric_of_weights
from trainables.run_folder.epoch_report import CURVES
from trainables.run_folder.trial_columns import AT_BEST

_GROUPS = {
    **CURVES,
    **{name: f"validation/{name}" for name in AT_BEST},
    Metric.VAL_LOSS.value: "loss/validation",
    **{metric_of_weights(which, metric): f"{which}/{metric.value}" for which in WEIGHTS for metric in Metric},
}
"""Names in an epoch report -> names of curves."""


def points_of(report: Mapping[str, Any]) -> dict[str, float]:
    """Points of an epoch by the names of their curves, with 0 or 1 for each flag; missing values are left out."""
    points = {name: float(report[key]) for key, name in _GROUPS.items() if report.get(key) is not None}
    return points | {f"health/{flag}": float(flag in report["flags"]) for flag in Flag}
