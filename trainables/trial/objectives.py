"""Values of a trial's objectives: its score, metrics, costs of its network, and training time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trainables.core.vocabulary import Objective
from trainables.run_folder.trial_columns import best_report


def objectives_of(
    names: Collection[str], reports: Sequence[Mapping[str, Any]], costs: Mapping[str, float]
) -> list[float | None]:
    """Returns a trial's current value of each objective; None where its best epoch has no such value.

    Args:
        names: names of `Objective` and `Metric`; metrics are those of the best epoch.
        reports: reports of all epochs so far, as on disk; at least one.
        costs: result of `network_costs`.
    """
    last = reports[-1]
    known = {
        **(best_report(reports) or {}),
        **costs,
        Objective.SCORE.value: last["best_score"],
        Objective.TRAIN_S.value: sum(report["train_s"] for report in reports),
    }
    return [known.get(name) for name in names]
