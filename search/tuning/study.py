"""The Optuna study of a run: its storage, the reports to it, and the view of it that samplers get."""

from __future__ import annotations

import math
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import LOCK_FILE_SUFFIX
from optuna.trial import FrozenTrial, Trial, TrialState

from search.config.scheduler import SchedulerSettings
from search.config.search_config import SearchConfig
from search.config.storage import IN_THE_RUN, missing_variables, with_variables
from search.config.yaml_source import InputError
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

# --- storage --------------------------------------------------------------------------------------------------------


def open_study(layout: RunLayout, config: SearchConfig) -> optuna.Study:
    """Opens the study of a run, and creates it if there is none.

    Raises:
        InputError: if its storage cannot be used, or lacks trials that the run folder has.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = _storage(layout, config.settings.storage)
        study = _study_in(storage, config)
        known = len(study.get_trials(deepcopy=False))
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:  # raised by a damaged journal
        if config.settings.storage != "journal" or isinstance(error, InputError):
            raise
        raise InputError(
            f"{layout.study} is damaged ({str(error) or type(error).__name__}); put a copy in its place"
        ) from None
    if lost := [trial.number for trial in layout.all_trials() if trial.number >= known]:
        raise InputError(
            f"{layout.root} has the folder of trial {lost[0]}, but its study (search.storage: {config.settings.storage}) has "
            f"only {known} trials: it belongs to another run, or is damaged; put a copy in its place"
        )
    return study


def _study_in(storage: BaseStorage, config: SearchConfig) -> optuna.Study:
    try:
        return optuna.load_study(storage=storage, study_name=config.name)
    except KeyError:
        return optuna.create_study(storage=storage, study_name=config.name, directions=config.directions)


def trials_known(layout: RunLayout) -> int | None:
    """Number of trials in the run's journal; None if it cannot be read."""
    try:
        storage = JournalStorage(JournalFileBackend(str(layout.study)))
        return sum(storage.get_n_trials(study._study_id) for study in storage.get_all_studies())
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError):
        return None


def repair_journal(layout: RunLayout) -> None:
    """Repairs the journal after a driver was killed while writing to it, or met a full disk. Only the owner of the run
    may do this.

    Removes the journal's lock, for which others would wait half a minute, and an incomplete last line, after which
    nothing more could be read.
    """
    layout.study.with_name(f"{layout.study.name}{LOCK_FILE_SUFFIX}").unlink(missing_ok=True)
    if not layout.study.exists():
        return
    with layout.study.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def check_storage(layout: RunLayout, config: SearchConfig) -> None:
    """Checks, before a run's first start, that its database can be reached and has no study of this name.

    Raises:
        InputError: if not.
    """
    if config.settings.storage in IN_THE_RUN:
        return
    storage = _storage(layout, config.settings.storage)
    if config.name in {study.study_name for study in storage.get_all_studies()}:
        raise InputError(
            f"search.storage: the database has a study named {config.name!r}, of another run; choose another search.name"
        )


def _storage(layout: RunLayout, storage: str) -> BaseStorage:
    if storage == "journal":
        return JournalStorage(JournalFileBackend(str(layout.study)))
    if storage == "sqlite":
        return RDBStorage(f"sqlite:///{layout.study_database}")
    if missing := missing_variables(storage, os.environ):
        raise InputError(f"search.storage: {storage} needs {', '.join(missing)} in the environment")
    from sqlalchemy.exc import SQLAlchemyError  # slow to import, and a journal does not need it

    url = with_variables(storage, os.environ)
    if url.startswith("postgresql://"):
        url = url.replace("postgresql", "postgresql+psycopg", 1)  # the driver of thaw-search[postgresql]
    try:
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})  # reconnects after a restart of the server
    except ImportError as error:
        raise InputError(f"search.storage: {storage}: {error}; pip install thaw-search[postgresql]") from None
    except (SQLAlchemyError, ValueError) as error:
        # Only the error's kind and the server's words: the URL that was tried holds the password.
        reason = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()[0]
        raise InputError(f"search.storage: cannot use {storage}: {reason}") from None


@contextmanager
def as_os_errors() -> Iterator[None]:
    """Raises the errors of a database that can no longer be written as OSError, like those of a full disk: the search
    stops, and can be resumed."""
    try:
        yield
    except StorageInternalError as error:
        raise as_os_error(error) from None


def as_os_error(error: StorageInternalError) -> OSError:
    """OSError with only the server's message: the statement that failed contains what the user searches."""
    reason = str(getattr(error.__cause__, "orig", None) or type(error.__cause__).__name__).strip().splitlines()[0]
    return OSError(f"search.storage: the database can no longer be written: {reason}")


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
                folder, fell_behind(reports[-1]["best_score"], reports[-1]["epoch"], config.settings.scheduler), config
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


def fell_behind(best: float | None, epoch: int, scheduler: SchedulerSettings) -> str:
    """Reason why a trial was pruned after an epoch with this best score."""
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


class AskingStudy(optuna.Study):
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
