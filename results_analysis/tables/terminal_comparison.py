"""The table of a comparison over seeds, in a terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Literal

from results_analysis.tables.file_formats import is_missing
from results_analysis.tables.terminal_table import Column, fitting
from trainables.core.vocabulary import Metric

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

_HEADINGS = {
    "candidate": "",
    "mean": "validation",
    "advantage": "better by (95% interval)",
    "seeds": "seeds",
    "test": "test",
    "promised": "in the search",
    "train_s": "seconds per run",
}
"""Headings by column, the most important first."""
_ORDER = ("candidate", "seeds", "mean", "promised", "test", "advantage", "train_s")
_OPTIONAL = ("promised", "test")
"""Columns that only some comparisons have."""
_GAP = 2


def render_comparison(table: pd.DataFrame, metric: Metric, *, width: int = 100) -> Table:
    """Draws the result of `comparison_table`: means, standard deviations, and the distance between the candidates.

    Columns that do not fit are named below the table.

    Args:
        table: rows of `comparison_table`.
        metric: the metric that is the score.
        width: of the terminal, in characters.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    names = [name for name in _HEADINGS if name not in _OPTIONAL or table[name].notna().any()]
    cells = {name: [_cell(row, name) for _, row in table.iterrows()] for name in names}
    # Long names may not push the scores out of the terminal.
    cells["candidate"] = ["\n".join(textwrap.wrap(name, max(10, width // 3))) for name in cells["candidate"]]
    columns = {name: Column(_HEADINGS[name], list(map(Text, texts))) for name, texts in cells.items()}
    shown, left_out = fitting(list(columns.values()), width, _GAP)
    direction = "higher" if metric.mode == "max" else "lower"
    drawn = Table(
        title=Text(f"{metric.value}, {direction} is better; mean ± standard deviation over seeds"),
        caption=Text(f"no room for {', '.join(column.heading for column in left_out)}") if left_out else None,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, _GAP - 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    order = [name for name in _ORDER if name in columns and columns[name] in shown]
    for name in order:
        justify: Literal["left", "right"] = "left" if name == "candidate" else "right"
        drawn.add_column(Text("\n".join(columns[name].lines)), justify=justify, no_wrap=True)
    for row in zip(*(columns[name].cells for name in order), strict=True):
        drawn.add_row(*row)
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
            if is_missing(row["advantage_low"]):
                return f"{row[name]:+.4f}"
            return f"{row[name]:+.4f}\n({row['advantage_low']:+.4f} … {row['advantage_high']:+.4f})"
        case "train_s":
            return f"{row[name]:.0f}"
    return f"{row[name]:.4f}"
