"""How far a run has come, to tell which of two folders of it has gone on."""

from __future__ import annotations

from typing import NamedTuple

from trainables.run_folder.layout import RunLayout


class Headway(NamedTuple):
    """What only grows in a run."""

    study: bytes
    """Its study's journal: those of two runs differ in their first line, and who goes on with a run writes to the end."""
    attempt: int

    def has(self, other: Headway) -> bool:
        """Whether this is the other's run, and nothing of it is missing here."""
        return self.study.startswith(other.study) and self.attempt >= other.attempt


def headway_of(layout: RunLayout) -> Headway:
    return Headway(layout.study.read_bytes() if layout.study.exists() else b"", layout.read_attempt())


def headway_in(study: bytes | None, attempt: bytes | None) -> Headway:
    """From what the two files hold; None: there is no such file."""
    return Headway(study or b"", int(attempt) if attempt is not None and attempt.isdigit() else 0)
