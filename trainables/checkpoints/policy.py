"""Rules for which epochs get a checkpoint and which checkpoints stay on disk. Pure functions.

A value that the policy leaves open (null) is the leanest default here; `disk_budget` fills in more where the disk has room.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trainables.core.vocabulary import Metric
from trainables.recipe.stage_config import Stage
from trainables.recipe.train_config import CheckpointPolicy

LEAST_LAST = 2
"""Newest checkpoints that stay at least, if the policy leaves it open: one, and the one before it in case it is damaged."""


def milestone_of(
    report: Mapping[str, Any], before: Mapping[str, Any] | None, policy: CheckpointPolicy, stages: Sequence[Stage]
) -> str | None:
    """Returns the milestone that an epoch reaches, as the policy writes it; the last one of several; None if there is none.

    Args:
        report: report of the epoch.
        before: report of the previous epoch; None if the epoch is the first.
        policy: policy with the milestones.
        stages: stages of the recipe.
    """
    most = sum(stage.epochs for stage in stages)
    done, done_before = _planned(report, stages), 0 if before is None else _planned(before, stages)
    reached: list[tuple[float, str]] = []
    for milestone in policy.milestones or ():
        if isinstance(milestone, int):
            if milestone == report["epoch"]:
                reached.append((done, str(milestone)))
        else:
            share = int(milestone[:-1])
            due = share / 100 * most
            last = share == 100 and report["finished"]
            if done_before < due <= done or last:
                reached.append((due, milestone))
    return max(reached)[1] if reached else None


def _planned(report: Mapping[str, Any], stages: Sequence[Stage]) -> int:
    """Epochs done by the plan; see `stages.planned_epochs`."""
    return sum(stage.epochs for stage in stages[: report["stage_index"]]) + int(report["epoch_in_stage"])


def is_due(report: Mapping[str, Any], milestone: str | None, policy: CheckpointPolicy) -> bool:
    """Returns True if an epoch's checkpoint is to be written even if nobody asked for it.

    Args:
        report: report of the epoch.
        milestone: milestone that the epoch reaches, if any.
        policy: policy of the run.
    """
    epoch = report["epoch"]
    return (
        report["finished"]
        or milestone is not None
        or report["best_epoch"] == epoch
        or epoch % policy.save_every_epochs == 0
        or (policy.keep_every_epochs is not None and epoch % policy.keep_every_epochs == 0)
    )


def epochs_to_keep(
    scores: Mapping[int, float], policy: CheckpointPolicy, metric: Metric, *, permanent: Collection[int] = ()
) -> set[int]:
    """Returns the epochs whose checkpoints stay: the newest, the best, each n-th with the best up to it, and the permanent ones.

    Args:
        scores: epoch -> score, for every existing checkpoint; NaN is never among the best. Of equal scores the earlier is better.
        policy: policy of the run.
        metric: metric of the scores.
        permanent: epochs that are milestones or were saved on demand.
    """
    sign = 1 if metric.mode == "min" else -1
    ranked = sorted((epoch for epoch in scores if scores[epoch] == scores[epoch]), key=lambda e: (sign * scores[e], e))
    newest = sorted(scores)[-(policy.keep_last or LEAST_LAST) :]
    kept = {*newest, *ranked[: policy.keep_best], *(scores.keys() & set(permanent))}
    if policy.keep_every_epochs is not None:
        for nth in (epoch for epoch in scores if epoch % policy.keep_every_epochs == 0):
            kept |= {nth, *[epoch for epoch in ranked if epoch <= nth][:1]}
    return kept
