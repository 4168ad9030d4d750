"""A comparison's table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from results_analysis.tables.file_formats import is_missing
from trainables.core.vocabulary import Metric

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


_ALL_FIT = 95
"""Columns of a terminal in which everything has room."""


def render_comparison(table: pd.DataFrame, metric: Metric, *, width: int = 100) -> Table:
    """What `comparison_table` returned, for a terminal of `width` columns: means, deviations, and how far apart they are."""
    from rich import box
    from rich.table import Table

    direction = "higher" if metric.mode == "max" else "lower"
    drawn = Table(
        title=f"{metric.value}, {direction} is better; mean ± standard deviation over seeds",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        title_justify="left",
    )
    columns = {"candidate": "", "seeds": "seeds", "mean": "validation"}
    columns |= {name: name for name in ("promised", "test") if table[name].notna().any()}
    columns |= {"advantage": "better by\n(95% interval)"}
    if width >= _ALL_FIT:
        columns["train_s"] = "seconds\na run"
    for name, heading in columns.items():
        drawn.add_column(heading, justify="left" if name == "candidate" else "right", no_wrap=True)
    for _, row in table.iterrows():
        drawn.add_row(*(_cell(row, name) for name in columns))
    return drawn


def _cell(row: pd.Series[Any], name: str) -> str:
    if is_missing(row[name]):
        return "–"
    match name:
        case "candidate":
            return str(row[name])
        case "seeds":
            return f"{row['seeds']}" + (f" + {row['failed']} failed" if row["failed"] else "")
        case "mean" | "test":
            deviation = row["deviation" if name == "mean" else "test_deviation"]
            return f"{row[name]:.4f}" + ("" if is_missing(deviation) else f" ± {deviation:.4f}")
        case "advantage":
            interval = f"\n({row['advantage_low']:+.4f} … {row['advantage_high']:+.4f})"
            return f"{row[name]:+.4f}" + ("" if is_missing(row["advantage_low"]) else interval)
        case "train_s":
            return f"{row[name]:.0f}"
    return f"{row[name]:.4f}"
