"""The Pareto front of a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def pareto_front(table: pd.DataFrame, modes: Mapping[str, str]) -> pd.DataFrame:
    """Rows that no other row dominates, that is, equals or beats in every objective and beats in at least one.

    Rows in which an objective is missing are left out. Rows that are equal in all objectives all stay.

    Args:
        table: one row a trial.
        modes: direction that is better by objective, `max` or `min`.
    """
    import numpy as np

    whole = table.dropna(subset=list(modes))
    signs = [-1.0 if mode == "max" else 1.0 for mode in modes.values()]
    costs = whole[list(modes)].to_numpy(dtype="float64") * signs
    distinct, of_row = np.unique(costs, axis=0, return_inverse=True)
    # np.unique sorts the rows, so no row is dominated by a later one: comparing with the front so far is enough.
    front: list[int] = []
    for position, cost in enumerate(distinct):
        if not (distinct[front] <= cost).all(axis=1).any():
            front.append(position)
    return whole[np.isin(of_row.reshape(-1), front)]
