"""The storage of a run's Optuna study: a journal or a database in the run's folder, or a database by URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import LOCK_FILE_SUFFIX

from search.config.search_config import SearchConfig
from search.config.storage import IN_THE_RUN, missing_variables, with_variables
from search.config.yaml_source import InputError
from trainables.run_folder.layout import RunLayout


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
