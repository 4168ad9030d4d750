"""What a trial comes to beside its score: what its network costs and what its training took."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trainables.core.vocabulary import Objective
from trainables.run_folder.trial_columns import best_report


def objectives_of(
    names: Collection[str], reports: Sequence[Mapping[str, Any]], costs: Mapping[str, float]
) -> list[float | None]:
    """What a trial has come to so far, for each of some names; None where its best epoch has no such number.

    Args:
        names: of `Objective` and `Metric`; metrics are those of the best epoch.
        reports: all epochs so far, as on disk.
        costs: what `network_costs` returned.
    """
    last = reports[-1]
    known = {
        **(best_report(reports) or {}),
        **costs,
        Objective.SCORE.value: last["best_score"],
        Objective.TRAIN_S.value: sum(report["train_s"] for report in reports),
    }
    return [known.get(name) for name in names]
