"""The Optuna study of a run: where it is stored, what it is told after a kill, and what samplers see of it."""

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

from search.config.scheduler import Pbt, Scheduler
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

# --- where it is ----------------------------------------------------------------------------------------------------


def open_study(layout: RunLayout, config: SearchConfig) -> optuna.Study:
    """The run's study; made where there is none.

    Raises:
        InputError: if its database cannot be used, or it does not know trials that the run has.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = _storage(layout, config.settings.storage)
        study = _study_in(storage, config)
        known = len(study.get_trials(deepcopy=False))
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:  # of a journal that is none
        if config.settings.storage != "journal" or isinstance(error, InputError):
            raise
        raise InputError(
            f"{layout.study} is damaged ({str(error) or type(error).__name__}); put a copy in its place"
        ) from None
    if lost := [trial.number for trial in layout.all_trials() if trial.number >= known]:
        raise InputError(
            f"{layout.root} has the folder of trial {lost[0]}, and its study (search.storage: {config.settings.storage}) knows "
            f"{known} trials: it is not this run's, or damaged; put a copy in its place"
        )
    return study


def _study_in(storage: BaseStorage, config: SearchConfig) -> optuna.Study:
    try:
        return optuna.load_study(storage=storage, study_name=config.name)
    except KeyError:
        return optuna.create_study(storage=storage, study_name=config.name, directions=config.directions)


def trials_known(layout: RunLayout) -> int | None:
    """How many trials the run's journal has; None: it cannot be read."""
    try:
        storage = JournalStorage(JournalFileBackend(str(layout.study)))
        return sum(storage.get_n_trials(study._study_id) for study in storage.get_all_studies())
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError):
        return None


def mend_journal(layout: RunLayout) -> None:
    """Takes away what a driver left that was killed while it wrote to the journal, or met a full disk: the journal's lock, for
    which others would wait half a minute, and half a line, after which nothing more could be read. Only for who owns the run.
    """
    layout.study.with_name(f"{layout.study.name}{LOCK_FILE_SUFFIX}").unlink(missing_ok=True)
    if not layout.study.exists():
        return
    with layout.study.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def check_storage(layout: RunLayout, config: SearchConfig) -> None:
    """Before a run's first start: its database can be reached, and has no study of this name.

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
    from sqlalchemy.exc import SQLAlchemyError  # takes its time, and a journal does without

    url = with_variables(storage, os.environ)
    if url.startswith("postgresql://"):
        url = url.replace("postgresql", "postgresql+psycopg", 1)  # the driver of thaw-search[postgresql]
    try:
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})  # a server that was started anew is met again
    except ImportError as error:
        raise InputError(f"search.storage: {storage}: {error}; pip install thaw-search[postgresql]") from None
    except (SQLAlchemyError, ValueError) as error:
        # Only the error's kind and the server's words: the URL that was tried holds the password.
        reason = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()[0]
        raise InputError(f"search.storage: cannot use {storage}: {reason}") from None


@contextmanager
def refusals() -> Iterator[None]:
    """What a database says that takes nothing any more is a refusal like a disk's: the search stops, and can go on later."""
    try:
        yield
    except StorageInternalError as error:
        raise refused(error) from None


def refused(error: StorageInternalError) -> OSError:
    """With the server's words alone: the statement that failed holds what the user searches."""
    reason = str(getattr(error.__cause__, "orig", None) or type(error.__cause__).__name__).strip().splitlines()[0]
    return OSError(f"search.storage: the database takes nothing any more: {reason}")


# --- what it is told ------------------------------------------------------------------------------------------------


def settle(study: optuna.Study, layout: RunLayout, config: SearchConfig) -> None:
    """Tells the study of trials whose end was recorded, but not told before the driver was killed."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = layout.trial(trial.number)
        record = read_record(folder) if folder.trial.exists() else None
        if record is None or record.status is TrialStatus.RUNNING:
            continue
        taken_up, reports = Trial(study, trial._trial_id), read_epochs(folder.epochs)
        report_recorded(taken_up, reports, known=set(trial.intermediate_values))
        tell(taken_up, record, config, came_to_its_end=bool(reports) and ended_by_itself(reports[-1]))


def end_running(study: optuna.Study, layout: RunLayout, config: SearchConfig, reason: str) -> None:
    """Prunes the trials that a budget cut off."""
    settle(study, layout, config)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = layout.trial(trial.number)
        if folder.trial.exists():  # else the driver was killed before its first record
            _end_pruned(folder, reason, config)
        cut_off = Trial(study, trial._trial_id)
        report_recorded(cut_off, read_epochs(folder.epochs), known=set(trial.intermediate_values))
        study.tell(trial.number, state=TrialState.PRUNED)


def end_judged(study: optuna.Study, layout: RunLayout, config: SearchConfig, stopped: Mapping[int, int]) -> None:
    """Ends the trials that had come to a rung and failed there when the driver was killed: an epoch more would be one too many.

    Args:
        stopped: number of a trial -> the epoch after which it was not to go on.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = layout.trial(trial.number)
        reports = read_epochs(folder.epochs)
        if reports and reports[-1]["epoch"] == stopped.get(trial.number):
            _end_pruned(
                folder, fell_behind(reports[-1]["best_score"], reports[-1]["epoch"], config.settings.scheduler), config
            )
    settle(study, layout, config)


def _end_pruned(folder: TrialLayout, reason: str, config: SearchConfig) -> None:
    """Records the end of a trial that nobody runs any more; what its network costs, its epochs do not tell."""
    reports = read_epochs(folder.epochs)
    came_to = zip(config.goals, objectives_of(config.goals, reports, {}), strict=True) if reports else ()
    end: dict[str, Any] = {
        "status": TrialStatus.PRUNED,
        "reason": reason,
        "ended": now(),
        "summary": summary_of(folder),
    }
    end["objectives"] = {name: value for name, value in came_to if value is not None}
    read_record(folder).model_copy(update=end).write(folder)


def fell_behind(best: float | None, epoch: int, scheduler: Scheduler) -> str:
    """Why a trial was pruned after an epoch with this best score."""
    score = f"{best:.4g}" if best is not None and math.isfinite(best) else "no score"
    where = f"among the worst {scheduler.quantile:.0%}" if isinstance(scheduler, Pbt) else "not among the best"
    return f"{score} at epoch {epoch} was {where} there"


def summary_of(folder: TrialLayout) -> TrialSummary | None:
    """None: the epochs are damaged, which is for those to tell who read them."""
    try:
        return summary_in(folder.epochs)
    except RunFileError:
        return None


def ended_by_itself(report: Mapping[str, Any]) -> bool:
    """Whether a trial's last report is that of a whole run."""
    return bool(report["finished"]) and not report["stopped_for"]


def tell(trial: Trial, record: TrialRecord, config: SearchConfig, *, came_to_its_end: bool) -> None:
    """Tells the study how a trial ended, by its record."""
    settings, study = config.settings, trial.study
    known = trial.constraints
    for name, bound in settings.constraints.items():
        if name in record.objectives and name not in known:
            trial.set_constraint(name, bound.excess(record.objectives[name]))
    state = STATES.get(record.status) or (TrialState.COMPLETE if came_to_its_end else TrialState.PRUNED)
    values = [record.objectives[name] for name in settings.objectives] if state is TrialState.COMPLETE else None
    study.tell(trial.number, values, state=state)


def report_recorded(trial: Trial, reports: Iterable[dict[str, Any]], *, known: Container[int]) -> None:
    """Reports the epochs that are on disk and not `known` to the study."""
    for report in reports:
        if report["epoch"] not in known and report["best_score"] is not None:
            report_epoch(trial, report["best_score"], report["epoch"])


def report_epoch(trial: Trial, score: float, epoch: int) -> None:
    """Reports an epoch, where the study has one objective: Optuna has intermediate values only there."""
    if len(trial.study.directions) == 1:
        trial.report(score, epoch)


# --- what samplers see ----------------------------------------------------------------------------------------------


class AskingStudy(optuna.Study):
    """The same study as it is asked for proposals: with trials of earlier runs, which are in no storage, before its own.

    A trial is proposed from one list of trials, read once: nobody but this process writes to the study.
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
