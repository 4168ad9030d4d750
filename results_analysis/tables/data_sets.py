"""Trials of one search that saw different data: files may have changed between its start and a later resume. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainables.core.vocabulary import CANDIDATE

if TYPE_CHECKING:
    import pandas as pd


def on_same_data(table: pd.DataFrame, trial: int) -> pd.DataFrame:
    """Rows of the trials that saw the same data as this one: only their scores can be compared with its score."""
    data_sets = data_set_of(table)
    own = int(data_sets[table["trial"] == trial].iloc[0])
    return table.loc[data_sets == own]


def data_set_of(table: pd.DataFrame) -> pd.Series[Any]:
    """Data set that each trial saw: 0 for the one that its run began with, 1 for the next, and so on.

    Trials with different settings of `data` see different images by design, so only trials with the same settings are told
    apart. A trial that does not record its data counts as 0.

    Args:
        table: one row a trial, with `data_fingerprint`.
    """
    import pandas as pd

    settings = [name for name in table.columns if name.startswith("data.") or name in ("run", CANDIDATE)]
    groups = table[settings].astype("string").fillna("").agg("\n".join, axis=1) if settings else table["trial"] * 0
    found = pd.Series(0, index=table.index)
    for _, rows in table.sort_values("trial").groupby(groups):
        known = rows["data_fingerprint"].dropna()
        found[known.index] = pd.factorize(known)[0]
    return found
