"""What a trial came to, from its epoch reports: the part of a table's row that training decides. Plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from trainables.layout import Flag, Metric

_AT_BEST = (*(metric.value for metric in Metric), "classes_predicted", "prediction_spread")


def summary_of(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How far a trial came, its best epoch's metrics, its flags and its costs. None: not known.

    Seconds are sums over the epochs; `cache_s` is part of the other two.
    """
    last = reports[-1] if reports else {}
    best = next((report for report in reports if report["epoch"] == last["best_epoch"]), {})
    return {
        "score": last.get("best_score"),
        "best_epoch": last.get("best_epoch"),
        "epochs": last.get("epoch", 0),
        "stage": last.get("stage"),
        "stage_index": last.get("stage_index"),
        **{name: best.get(name) for name in _AT_BEST},
        "flags": listed(flag for report in reports for flag in report["flags"]) if reports else None,
        "flags_at_best": listed(best["flags"]) if best else None,
        "stopped_for": last.get("stopped_for"),
        **{name: sum(report.get(name) or 0.0 for report in reports) for name in ("train_s", "val_s", "cache_s")},
        "compute": last.get("compute"),
    }


def listed(flags: Iterable[str]) -> str:
    """`spike, gap`: each flag once, in the order of `Flag`."""
    raised = set(flags)
    return ", ".join(flag for flag in Flag if flag in raised) if raised else ""
