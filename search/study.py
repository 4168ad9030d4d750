"""The Optuna study of a run: where it is stored, what it is told after a kill, and what samplers see of it."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from search.config import SearchConfig
from search.source import InputError
from search.storage_config import IN_THE_RUN, missing_variables, with_variables
from trainables.layout import RunLayout, TrialStatus
from trainables.record import TrialRecord, read_record
from trainables.report import read_epochs

STATES = {
    TrialStatus.FINISHED: TrialState.COMPLETE,
    TrialStatus.PRUNED: TrialState.PRUNED,
    TrialStatus.FAILED: TrialState.FAIL,
}

# --- where it is ----------------------------------------------------------------------------------------------------


def open_study(layout: RunLayout, config: SearchConfig) -> optuna.Study:
    """The run's study; made where there is none.

    Raises:
        InputError: if its database cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = _storage(layout, config.settings.storage)
    try:
        return optuna.load_study(storage=storage, study_name=config.name)
    except KeyError:
        return optuna.create_study(storage=storage, study_name=config.name, directions=config.directions)


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
    url = with_variables(storage, os.environ)
    if url.startswith("postgresql://"):
        url = url.replace("postgresql", "postgresql+psycopg", 1)  # the driver of thaw-search[postgresql]
    try:
        return RDBStorage(url)
    except ImportError as error:
        raise InputError(f"search.storage: {storage}: {error}; pip install thaw-search[postgresql]") from None
    except (SQLAlchemyError, ValueError) as error:
        # Only the error's kind and the server's words: the URL that was tried holds the password.
        reason = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()[0]
        raise InputError(f"search.storage: cannot use {storage}: {reason}") from None


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


def ended_by_itself(result: dict[str, Any]) -> bool:
    """Whether a trial's last report is that of a whole run."""
    return bool(result["finished"]) and not result["stopped_for"]


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


def judged_epochs(reports: Sequence[dict[str, Any]], trial: FrozenTrial) -> list[dict[str, Any]]:
    """The epochs of an interrupted trial after which the scheduler let it go on; it reports its last one again.

    The study is told of an epoch when it has been judged. With several objectives it is told of none: all but the last count.
    """
    told = trial.last_step
    return [r for r in reports if r["epoch"] <= told] if told is not None else list(reports[:-1])


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
