"""Fetches a run's copy from a URL: `thaw resume s3://bucket/runs/digits`."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from search.config.search_config import checked_name
from search.config.yaml_source import InputError
from search.run_folder.freshness import freshness_in, freshness_of
from search.run_folder.mirrored_files import STUDY_SIZE
from search.run_folder.run_lock import owned
from trainables.run_folder.layout import CHECKPOINT_FILE, RunLayout
from trainables.storage.destination import without_passwords
from trainables.storage.remote_folder import RemoteFolder

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=,@+ -]*")


def fetch(url: str, runs: Path) -> Path:
    """Fetches the run at a URL into the folder `runs`, unless it is there already and as far.

    Args:
        url: URL of the copy.
        runs: folder of all runs.
    Returns:
        The run folder.
    Raises:
        InputError: if the URL cannot be read or is not a run, or if another run is in the way.
    """
    url = url.rstrip("/")
    folder = RunLayout((runs / _checked(url.rpartition("/")[2], without_passwords(url))).absolute())
    try:
        copy = RemoteFolder(url)
        url = copy.url
        names = list(copy.sizes())
        if folder.config.name not in names:
            raise InputError(f"{url} is not a run: there is no {folder.config.name}")
        study = copy.read(folder.study.name)
        theirs = freshness_in(study, copy.read(folder.attempt.name))
        if folder.root.exists():
            if not folder.config.exists():
                raise InputError(
                    f"{folder.root} is in the way: it is not a run; move it away, or choose another --runs"
                )
            ours = freshness_of(folder)
            if ours.includes(theirs):
                return folder.root
            if not theirs.includes(ours):
                raise InputError(
                    f"{folder.root} is in the way: it is another run than {url}, or was resumed separately; move it away, or "
                    "choose another --runs"
                )
        _check_whole(study, copy.read(STUDY_SIZE), f"{url}/{folder.study.name}")
        _fetch_at_once(copy, [name for name in names if name != folder.study.name], study, folder)
    except OSError as error:
        raise InputError(f"{without_passwords(url)} cannot be fetched: {error}") from None
    return folder.root


def holds_run(url: str) -> bool:
    """True if there is a run at a URL.

    Raises:
        InputError: if the URL cannot be read.
    """
    try:
        return RemoteFolder(url).read(RunLayout(".").config.name) is not None
    except OSError as error:
        raise InputError(f"{without_passwords(url)} cannot be read: {error}") from None


def _checked(name: str, url: str) -> str:
    try:
        return checked_name(name)
    except ValueError as error:
        raise InputError(f"{url}: {error}") from None


def _check_whole(study: bytes | None, size: bytes | None, place: str) -> None:
    if size is not None and size.isdigit() and len(study or b"") < int(size):
        raise InputError(
            f"{place} is truncated: it has {len(study or b'')} bytes of {int(size)}; put a complete copy in its place"
        )


def _fetch_at_once(copy: RemoteFolder, names: Sequence[str], study: bytes | None, folder: RunLayout) -> None:
    """Fetches into a temporary folder beside the run's place, then moves all of it there at once."""
    folder.root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.root.name}.", dir=folder.root.parent) as temporary:
        fetched = RunLayout(Path(temporary) / folder.root.name)
        fetched.root.mkdir()
        if study is not None:
            fetched.study.write_bytes(study)
        # The driver may still write: a file is fetched before those it refers to, and is then older than they are.
        for turn in range(3):
            due = [name for name in names if _is_run_file(name) and _turn(name) == turn]
            copy.fetch({name: fetched.root / name for name in due})
        if study is not None:
            _drop_unknown_trials(fetched)
        if not folder.root.exists():
            fetched.root.rename(folder.root)
            return
        with owned(folder):
            folder.root.rename(Path(temporary) / "earlier")
            fetched.root.rename(folder.root)


def _is_run_file(name: str) -> bool:
    """True if the name is safe as a path, and not that of a temporary file."""
    return all(map(_NAME.fullmatch, name.split("/")))


def _turn(name: str) -> int:
    """Order of fetching: the reverse of the order of writing (`mirrored_files`)."""
    last = name.rpartition("/")[2]
    return 0 if last == "trial.json" else 1 if re.fullmatch(CHECKPOINT_FILE, last) else 2


def _drop_unknown_trials(run: RunLayout) -> None:
    """Removes trials that were copied before the study that knows them, because the driver died; they are proposed
    again."""
    from search.tuning.study_storage import trials_known  # imports torch, and most commands fetch nothing

    known = trials_known(run)
    for folder in run.all_trials():
        if known is not None and folder.number >= known:
            shutil.rmtree(folder.root)
