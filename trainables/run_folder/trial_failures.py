"""What a trial's failure asks for: another try, its end, or the end of the search, whose storage takes nothing any more."""

from __future__ import annotations

import errno

from trainables.run_folder.layout import TrialLayout

_REFUSALS = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.ESTALE}
"""No room, read-only, over quota, a broken disk, a network share that went away."""


def refusal_in(error: BaseException) -> OSError | None:
    """The storage's refusal that an error is or came from: it is no trial's fault, and no other trial would fare better."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _REFUSALS:
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def last_failure(folder: TrialLayout) -> str | None:
    """The last line of a trial's `error.txt`: the error's kind and words."""
    try:
        lines = folder.error.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except FileNotFoundError:
        return None
    return lines[-1] if lines else None


_TWICE = " (twice in the same way: not tried again)"


def mark_if_repeated(folder: TrialLayout, before: str | None) -> None:
    """Makes the trial's failure its last one if it failed in the same way before.

    Args:
        before: what `last_failure` said before the trial was tried again.
    """
    if before is not None and last_failure(folder) == before:
        with folder.error.open("a", encoding="utf-8") as file:
            file.write(f"{before}{_TWICE}\n")


def is_final(failure: str | None) -> bool:
    """Whether `last_failure` is of a trial that is not to be tried again."""
    return failure is not None and failure.endswith(_TWICE)
