"""A run's copy at a URL becomes a run here: `thaw resume s3://bucket/runs/digits`."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from search.config.search_config import checked_name
from search.config.yaml_source import InputError
from search.run_folder.freshness import headway_in, headway_of
from search.run_folder.mirrored_files import STUDY_SIZE
from search.run_folder.run_lock import owned
from trainables.run_folder.layout import CHECKPOINT_FILE, RunLayout
from trainables.storage.destination import without_passwords
from trainables.storage.remote_folder import RemoteFolder

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=,@+ -]*")


def fetch(url: str, runs: Path) -> Path:
    """Brings the run at a URL below `runs`, where it is not there already, or only as it was earlier.

    Returns:
        Its folder.
    Raises:
        InputError: if the URL cannot be read or holds no run, or if another run is in the way.
    """
    url = url.rstrip("/")
    folder = RunLayout((runs / _checked(url.rpartition("/")[2], without_passwords(url))).absolute())
    try:
        copy = RemoteFolder(url)
        url = copy.url
        names = list(copy.sizes())
        if folder.config.name not in names:
            raise InputError(f"{url} holds no run: there is no {folder.config.name}")
        study = copy.read(folder.study.name)
        theirs = headway_in(study, copy.read(folder.attempt.name))
        if folder.root.exists():
            if not folder.config.exists():
                raise InputError(f"{folder.root} is in the way: it is no run; move it away, or choose another --runs")
            ours = headway_of(folder)
            if ours.has(theirs):
                return folder.root
            if not theirs.has(ours):
                raise InputError(
                    f"{folder.root} is in the way: it is another run than {url}, or has gone on otherwise; move it away, or "
                    "choose another --runs"
                )
        _check_whole(study, copy.read(STUDY_SIZE), f"{url}/{folder.study.name}")
        _bring(copy, [name for name in names if name != folder.study.name], study, folder)
    except OSError as error:
        raise InputError(f"{without_passwords(url)} cannot be fetched: {error}") from None
    return folder.root


def holds_run(url: str) -> bool:
    """
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
            f"{place} is cut off: it has {len(study or b'')} bytes of {int(size)}; put a whole copy of it in its place"
        )


def _bring(copy: RemoteFolder, names: Sequence[str], study: bytes | None, folder: RunLayout) -> None:
    """Fetches beside the run's place, and then puts all of it there at once."""
    folder.root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.root.name}.", dir=folder.root.parent) as beside:
        fetched = RunLayout(Path(beside) / folder.root.name)
        fetched.root.mkdir()
        if study is not None:
            fetched.study.write_bytes(study)
        # Its driver may still write: what is read first is then older than what it tells of.
        for turn in range(3):
            due = [name for name in names if _is_a_runs(name) and _turn(name) == turn]
            copy.fetch({name: fetched.root / name for name in due})
        if study is not None:
            _drop_unknown_trials(fetched)
        if not folder.root.exists():
            fetched.root.rename(folder.root)
            return
        with owned(folder):
            folder.root.rename(Path(beside) / "earlier")
            fetched.root.rename(folder.root)


def _is_a_runs(name: str) -> bool:
    """Whether it may become a path, and is no other's temporary file."""
    return all(map(_NAME.fullmatch, name.split("/")))


def _turn(name: str) -> int:
    """The other way round than they are written (`mirrored_files`)."""
    last = name.rpartition("/")[2]
    return 0 if last == "trial.json" else 1 if re.fullmatch(CHECKPOINT_FILE, last) else 2


def _drop_unknown_trials(run: RunLayout) -> None:
    """Trials that came to the copy before the study that knows them did, as its driver died; they are asked for again."""
    from search.tuning.study import trials_known  # torch comes with it, and most commands fetch nothing

    known = trials_known(run)
    for folder in run.all_trials():
        if known is not None and folder.number >= known:
            shutil.rmtree(folder.root)
