"""Notes on the trials of a table, shown below its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from results_analysis.runs.columns import UNREADABLE
from results_analysis.tables.data_sets import data_set_of
from trainables.core.vocabulary import Flag, TrialStatus

if TYPE_CHECKING:
    import pandas as pd

_MOST_NAMED = 8
"""Largest number of trials that a note names."""


def notes_on(table: pd.DataFrame) -> Iterator[str]:
    """Notes on pruned, collapsed, stopped, failed and damaged trials, with reasons; also where no trial has finished."""
    if table.empty:
        yield "no trials"
        return
    if not (table["status"] == TrialStatus.FINISHED.value).any():
        yield "no trial has finished"
    later = table[data_set_of(table) > 0]
    if len(later):
        yield f"{_named(later)} saw other data than the trials before: their scores cannot be compared with the others'"
    yield from _pruned(table)
    collapsed = table["flags_at_best"].fillna("").str.split(", ").map(lambda f: Flag.COLLAPSE in f)
    if collapsed.any():
        yield f"{_named(table[collapsed])} collapsed, even in the best epoch"
    for flag, rows in table.groupby("stopped_for"):
        yield f"{_named(rows)} stopped for {flag}"
    for status, what in ((TrialStatus.FAILED.value, "failed"), (UNREADABLE, "cannot be read")):
        ended = table[table["status"] == status]
        for reason, rows in ended.groupby(ended["reason"].fillna("no reason recorded"), sort=False):
            yield f"{_named(rows)} {what}: {one_line(str(reason))}"


def _pruned(table: pd.DataFrame) -> Iterator[str]:
    """Pruned trials by epoch: `pruned: 8 at epoch 2, 4 at epoch 4`; those that stopped for a flag have their own note."""
    pruned = table[(table["status"] == TrialStatus.PRUNED.value) & table["stopped_for"].isna()]
    if len(pruned):
        rungs = pruned.groupby("epochs").size()
        yield "pruned: " + ", ".join(f"{count} at epoch {epoch}" for epoch, count in rungs.items())


def _named(rows: pd.DataFrame) -> str:
    """Names trials: `trials 3, 9`, or `trials a/3, b/9` of several runs; of many only the first."""
    keys = ["run", "trial"] if "run" in rows else ["trial"]
    ordered = rows.sort_values(keys)[keys].astype("string").agg("/".join, axis=1).tolist()
    named = ", ".join(ordered[:_MOST_NAMED])
    if len(ordered) > _MOST_NAMED:
        return f"{len(ordered)} trials ({named}, …)"
    return f"trial{'s' if len(ordered) > 1 else ''} {named}"


def one_line(text: str) -> str:
    """Last line of a text that is not blank (the error, in a traceback), with control characters replaced."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "".join(c if c.isprintable() else "·" for c in lines[-1].strip()) if lines else ""
