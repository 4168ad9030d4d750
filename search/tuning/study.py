"""Reports to the Optuna study of a run, and the view of it that samplers get."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from search.config.scheduler import SchedulerSettings
from search.config.search_config import SearchConfig
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunFileError, RunLayout, TrialLayout
from trainables.run_folder.trial_record import TrialRecord, now, read_record
from trainables.run_folder.trial_summary import TrialSummary, summary_in
from trainables.trial.objectives import objectives_of

STATES = {
    TrialStatus.FINISHED: TrialState.COMPLETE,
    TrialStatus.PRUNED: TrialState.PRUNED,
    TrialStatus.FAILED: TrialState.FAIL,
}


# --- reports --------------------------------------------------------------------------------------------------------


def report_recorded_ends(study: optuna.Study, layout: RunLayout, config: SearchConfig) -> None:
    """Reports trials whose end was recorded in their folders, but not in the study before the driver was killed.

    Args:
        study: study of the run.
        layout: run folder.
        config: the search.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = layout.trial(trial.number)
        record = read_record(folder) if folder.trial.exists() else None
        if record is None or record.status is TrialStatus.RUNNING:
            continue
        open_trial, reports = Trial(study, trial._trial_id), read_epochs(folder.epochs)
        report_recorded(open_trial, reports, known=set(trial.intermediate_values))
        report_end(open_trial, record, config, complete=bool(reports) and is_complete(reports[-1]))


def end_running(study: optuna.Study, layout: RunLayout, config: SearchConfig, reason: str) -> None:
    """Prunes the trials that were running when a budget was used up.

    Args:
        study: study of the run.
        layout: run folder.
        config: the search.
        reason: reason to record.
    """
    report_recorded_ends(study, layout, config)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = layout.trial(trial.number)
        if folder.trial.exists():  # else the driver was killed before its first record
            _end_pruned(folder, reason, config)
        cut_off = Trial(study, trial._trial_id)
        report_recorded(cut_off, read_epochs(folder.epochs), known=set(trial.intermediate_values))
        study.tell(trial.number, state=TrialState.PRUNED)


def end_stopped_at_rungs(
    study: optuna.Study, layout: RunLayout, config: SearchConfig, stopped: Mapping[int, int]
) -> None:
    """Ends the trials that a rung had stopped when the driver was killed: otherwise they would train one epoch too
    many.

    Args:
        study: study of the run.
        layout: run folder.
        config: the search.
        stopped: number of a trial -> the epoch after which it was to stop.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = layout.trial(trial.number)
        reports = read_epochs(folder.epochs)
        if reports and reports[-1]["epoch"] == stopped.get(trial.number):
            _end_pruned(
                folder,
                pruning_reason(reports[-1]["best_score"], reports[-1]["epoch"], config.settings.scheduler),
                config,
            )
    report_recorded_ends(study, layout, config)


def _end_pruned(folder: TrialLayout, reason: str, config: SearchConfig) -> None:
    """Records a trial that nobody runs any more as pruned, without the costs of its network, which its epochs do not
    contain."""
    reports = read_epochs(folder.epochs)
    objectives = zip(config.goals, objectives_of(config.goals, reports, {}), strict=True) if reports else ()
    end: dict[str, Any] = {
        "status": TrialStatus.PRUNED,
        "reason": reason,
        "ended": now(),
        "summary": summary_of(folder),
    }
    end["objectives"] = {name: value for name, value in objectives if value is not None}
    read_record(folder).model_copy(update=end).write(folder)


def pruning_reason(best: float | None, epoch: int, scheduler: SchedulerSettings) -> str:
    """Reason why a trial was pruned.

    Args:
        best: its best score until then; None: it has no score.
        epoch: its last epoch.
        scheduler: settings of the scheduler that pruned it.
    """
    score = f"{best:.4g}" if best is not None and math.isfinite(best) else "no score"
    return f"{score} at epoch {epoch} was {scheduler.why_pruned} there"


def summary_of(folder: TrialLayout) -> TrialSummary | None:
    """Summary of a trial; None if its epochs are damaged, which is reported to those who read them."""
    try:
        return summary_in(folder.epochs)
    except RunFileError:
        return None


def is_complete(report: Mapping[str, Any]) -> bool:
    """True if a trial's last report is that of a complete run."""
    return bool(report["finished"]) and not report["stopped_for"]


def report_end(trial: Trial, record: TrialRecord, config: SearchConfig, *, complete: bool) -> None:
    """Reports the end of a trial to the study.

    Args:
        trial: trial of the study.
        record: its record in the run folder.
        config: the search.
        complete: True if the trial trained all its epochs.
    """
    settings, study = config.settings, trial.study
    known = trial.constraints
    for name, bound in settings.constraints.items():
        if name in record.objectives and name not in known:
            trial.set_constraint(name, bound.excess(record.objectives[name]))
    state = STATES.get(record.status) or (TrialState.COMPLETE if complete else TrialState.PRUNED)
    values = [record.objectives[name] for name in settings.objectives] if state is TrialState.COMPLETE else None
    study.tell(trial.number, values, state=state)


def report_recorded(trial: Trial, reports: Iterable[dict[str, Any]], *, known: Container[int]) -> None:
    """Reports epochs that are on disk to the study.

    Args:
        trial: trial of the study.
        reports: its epochs on disk.
        known: epochs that the study has already.
    """
    for report in reports:
        if report["epoch"] not in known and report["best_score"] is not None:
            report_epoch(trial, report["best_score"], report["epoch"])


def report_epoch(trial: Trial, score: float, epoch: int) -> None:
    """Reports the score of an epoch, if the study has one objective: otherwise Optuna has no intermediate values.

    Args:
        trial: trial of the study.
        score: best score so far.
        epoch: epoch, counted from 1.
    """
    if len(trial.study.directions) == 1:
        trial.report(score, epoch)


# --- the samplers' view ---------------------------------------------------------------------------------------------


class StudyForSamplers(optuna.Study):
    """The study as samplers see it: with the trials of earlier runs, which are in no storage, before its own.

    The trials are read once for each proposal: only this process writes to the study.
    """

    def __init__(self, study: optuna.Study, known: Sequence[FrozenTrial]):
        super().__init__(study.study_name, study._storage)
        self._known = list(known)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,  # noqa: ARG002
    ) -> list[FrozenTrial]:
        own = super()._get_trials(deepcopy, states, use_cache=True)
        return [*(trial for trial in self._known if states is None or trial.state in states), *own]
