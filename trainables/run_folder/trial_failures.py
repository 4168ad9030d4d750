"""Classification of a trial's failure: try again, give up the trial, or stop the search because its storage fails."""

from __future__ import annotations

import errno

from trainables.run_folder.layout import TrialLayout

_REFUSALS = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.ESTALE}
"""Disk full, read-only, over quota, broken disk, network share that is gone."""


def storage_error_in(error: BaseException) -> OSError | None:
    """Storage error that an exception is or was caused by; None if there is none. It would make any other trial fail, too."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _REFUSALS:
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def last_failure(folder: TrialLayout) -> str | None:
    """Last line of a trial's `error.txt`, with the type and message of the error; None if there is no such file."""
    try:
        lines = folder.error.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except FileNotFoundError:
        return None
    return lines[-1] if lines else None


_TWICE = " (twice in the same way: not tried again)"


def mark_if_repeated(folder: TrialLayout, before: str | None) -> None:
    """Marks a trial as not to be tried again if it failed in the same way as before.

    Args:
        folder: folder of the trial.
        before: result of `last_failure` before the trial was tried again.
    """
    if before is not None and last_failure(folder) == before:
        with folder.error.open("a", encoding="utf-8") as file:
            file.write(f"{before}{_TWICE}\n")


def is_given_up(failure: str | None) -> bool:
    """Returns True if a result of `last_failure` marks a trial that is not to be tried again."""
    return failure is not None and failure.endswith(_TWICE)
