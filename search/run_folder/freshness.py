"""Progress of a run, to tell which of two copies of it is ahead."""

from __future__ import annotations

from typing import NamedTuple

from trainables.run_folder.layout import RunLayout


class Freshness(NamedTuple):
    """Parts of a run that only grow."""

    study: bytes
    """Journal of the study. Journals of two runs differ in their first line, and resuming a run only appends."""
    attempt: int
    """Number of the latest attempt."""

    def includes(self, other: Freshness) -> bool:
        """True if the other is the same run, and nothing of it is missing here."""
        return self.study.startswith(other.study) and self.attempt >= other.attempt


def freshness_of(layout: RunLayout) -> Freshness:
    """Progress of a run folder."""
    return Freshness(layout.study.read_bytes() if layout.study.exists() else b"", layout.read_attempt())


def freshness_in(study: bytes | None, attempt: bytes | None) -> Freshness:
    """Progress of a run, from the content of its two files; None: there is no such file."""
    return Freshness(study or b"", int(attempt) if attempt is not None and attempt.isdigit() else 0)
