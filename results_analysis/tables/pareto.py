"""Which trials no other beats. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def pareto_front(table: pd.DataFrame, modes: Mapping[str, str]) -> pd.DataFrame:
    """The rows that no other row beats: one beats another that is nowhere worse and somewhere better.

    Rows in which an objective is missing are out; of rows that are equal in all objectives, all stay.

    Args:
        modes: `max` or `min` by column.
    """
    import numpy as np

    whole = table.dropna(subset=list(modes))
    signs = [-1.0 if mode == "max" else 1.0 for mode in modes.values()]
    costs = whole[list(modes)].to_numpy(dtype="float64") * signs
    distinct, of_row = np.unique(costs, axis=0, return_inverse=True)
    # In the order of unique rows no row is beaten by a later one, so each is held against the front so far alone.
    front: list[int] = []
    for position, cost in enumerate(distinct):
        if not (distinct[front] <= cost).all(axis=1).any():
            front.append(position)
    return whole[np.isin(of_row.reshape(-1), front)]
