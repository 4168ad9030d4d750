"""Searches whose trials fail: stopped early if all fail for one reason, and reported as failed if nothing finished."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from ray.tune import Callback

from trainables.core.config_errors import counted
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.layout import RunLayout, TrialLayout
from trainables.run_folder.protocol import StepResult, TrialAssignment
from trainables.run_folder.trial_failures import last_failure
from trainables.run_folder.trial_record import read_record

_ENOUGH = 3
"""Trials that must fail for the same reason before the search stops."""


class SameFailure(Callback):
    """Watches whether all trials that start in this attempt fail, and for one reason: the others would fail, too."""

    def __init__(self) -> None:
        self._ended: list[tuple[str | None, TrialLayout]] = []
        self._trained: set[str] = set()
        """Trials that have trained for an epoch and not failed: failing takes seconds, and training takes hours."""

    def __getstate__(self) -> dict[str, Any]:
        return {"_ended": [], "_trained": set()}  # Ray pickles it into its snapshots, which nobody reads

    @property
    def found(self) -> str | None:
        """Reason why all trials failed, and where to read more; None if they did not."""
        reasons = {reason and re.sub(r"\d+", "#", reason) for reason, _ in self._ended}  # paths and numbers may differ
        if self._trained or len(self._ended) < _ENOUGH or len(reasons) > 1 or None in reasons:
            return None
        reason, folder = self._ended[-1]
        count = len(self._ended)
        return f"all {count} trials failed in the same way, so the search was stopped: {reason}\nSee {folder.error}"

    def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: Any) -> None:
        if StepResult.of_result(result).reports:
            self._trained.add(trial.trial_id)

    def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
        folder = TrialAssignment.of_config(trial.config).folder
        given_up = StepResult.of_result(trial.last_result).given_up
        if given_up:
            self._trained.discard(trial.trial_id)
        self._ended.append((last_failure(folder) if given_up else None, folder))

    def on_trial_error(self, *, trial: Any, **_: Any) -> None:
        self._trained.discard(trial.trial_id)
        folder = TrialAssignment.of_config(trial.config).folder
        self._ended.append((last_failure(folder), folder))


def why_nothing_finished(layout: RunLayout) -> str | None:
    """Reasons why no trial of a run finished, the most common first; None if one did."""
    records = [read_record(folder) for folder in layout.all_trials() if folder.trial.exists()]
    if any(record.status in {TrialStatus.FINISHED, TrialStatus.INFEASIBLE} for record in records):
        return None
    reasons = Counter(f"{record.status}: {record.reason}" for record in records if record.reason)
    lines = [f"  {counted(count, 'trial')} {reason}" for reason, count in reasons.most_common(5)]
    return "\n".join(["No trial finished:", *lines])
