"""The table of trials in a terminal: the columns that fit, the best trial marked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results_analysis.runs.columns import COLUMNS, UNREADABLE, is_searched
from results_analysis.tables.file_formats import is_missing
from results_analysis.tables.results_table import best_row
from results_analysis.tables.short_names import short_names
from results_analysis.tables.trial_notes import notes_on, one_line
from trainables.core.printable import printable
from trainables.core.vocabulary import Metric, TrialStatus

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

_STATUS_STYLES: dict[str, str] = {
    TrialStatus.FINISHED: "green",
    TrialStatus.RUNNING: "cyan",
    TrialStatus.PRUNED: "yellow",
    TrialStatus.FAILED: "red",
    UNREADABLE: "red",
    TrialStatus.INFEASIBLE: "magenta",
}

_LONGEST_ASKED = 60
"""Longest text of a cell, in characters, in a column that was asked for by name."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column as the terminal shows it."""

    heading: str
    cells: Sequence[Text]
    right: bool = True
    """True where the column is aligned to the right, as numbers are."""

    @property
    def lines(self) -> list[str]:
        """The heading in lines: it wraps after a space, `.` or `/`, never inside a name such as `unfreeze_from`."""
        pieces = re.split(r"(?<=[./ ])", self.heading)
        width = max([len(piece.rstrip()) for piece in pieces] + [self._cells_width])
        lines = [""]
        for piece in pieces:
            lines[-1:] = [lines[-1] + piece] if len((lines[-1] + piece).rstrip()) <= width else [lines[-1], piece]
        return [line.rstrip() for line in lines]

    @property
    def width(self) -> int:
        """Width in characters that shows every line of the heading and every cell in full."""
        return max([len(line) for line in self.lines] + [self._cells_width])

    @property
    def _cells_width(self) -> int:
        return max((line.cell_len for cell in self.cells for line in cell.split()), default=0)


def fitting(columns: Sequence[Column], width: int, gap: int) -> tuple[list[Column], list[Column]]:
    """Columns that fit side by side, and those that do not.

    Args:
        columns: the most important first; each is taken if it still fits beside those before it. The first always is.
        width: of the terminal, in characters.
        gap: spaces between two columns.
    """
    shown: list[Column] = []
    left_out: list[Column] = []
    for column in columns:
        fits = not shown or sum(c.width + gap for c in shown) + column.width <= width
        (shown if fits else left_out).append(column)
    return shown, left_out


def render(
    table: pd.DataFrame,
    metric: Metric | None,
    *,
    width: int = 100,
    top: int | None = None,
    columns: Sequence[str] | None = None,
) -> Table:
    """Draws the table for a terminal of `width` characters; the best trial is bold and marked with a star.

    Searched values come before time, flags and the other metrics where the width does not suffice for all. Below the
    table: how many trials are not shown, notes on the trials (`notes_on`), and the columns that did not fit.

    Args:
        table: rows of `results_table`.
        metric: the metric that is the score; None where several runs score differently.
        width: of the terminal, in characters.
        top: number of rows to draw; None: all.
        columns: names of the columns to draw, the most important first; None: the usual ones.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    best = None if metric is None else best_row(table, metric)
    drawn_rows = table.head(len(table) if top is None else top)
    if columns is None:
        shown, left_out, gap = _usual_columns(drawn_rows, metric, best, width)
    else:
        shown, left_out = fitting(_asked_columns(drawn_rows, columns), width, gap := 2)
    notes = [f"… {hidden} more, --top 0 for all"] if (hidden := len(table) - len(drawn_rows)) else []
    notes += notes_on(table)
    if left_out:
        notes.append(_no_room_for(left_out))

    drawn = Table(
        title=Text(_title(metric)),
        caption=Text("\n".join(notes)) if notes else None,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, gap - 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    for column in shown:
        heading = Text("\n".join(column.lines))
        drawn.add_column(heading, justify="right" if column.right else "left", no_wrap=True, vertical="bottom")
    for row, cells in zip(drawn_rows.index, zip(*(column.cells for column in shown), strict=True), strict=True):
        drawn.add_row(*cells, style="bold" if row == best else None)
    return drawn


def _title(metric: Metric | None) -> str:
    if metric is None:
        return "score: each run's own metric"
    return f"score: {metric.value}, {'higher' if metric.mode == 'max' else 'lower'} is better"


def _usual_columns(
    table: pd.DataFrame, metric: Metric | None, best: Any, width: int
) -> tuple[list[Column], list[Column], int]:
    """Columns that are shown, in their order; columns that do not fit; and the gap between two columns."""
    core, searched, others = _core_columns(table, best), _searched_columns(table), _other_columns(table, metric)
    important = sorted(core, key=lambda column: column.heading not in ("run", "trial", "score"))
    _, too_wide = fitting([*important, *searched], width, 2)
    gap = 1 if too_wide else 2
    shown, left_out = fitting([*important, *searched, *others], width, gap)
    return [column for column in [*core, *others, *searched] if column in shown], left_out, gap


def _no_room_for(columns: Sequence[Column]) -> str:
    """`no room for decay, time and 3 metrics: choose with --columns, or widen the terminal`"""
    metrics = [column.heading for column in columns if column.heading in list(Metric)]
    names = [column.heading for column in columns if column.heading not in metrics]
    parts = [", ".join(names)] if names else []
    parts += [f"{len(metrics)} metric{'s' if len(metrics) > 1 else ''}"] if metrics else []
    return f"no room for {' and '.join(parts)}: choose with --columns, or widen the terminal"


def _core_columns(table: pd.DataFrame, best: Any) -> list[Column]:
    from rich.text import Text

    statuses = [Text(status, style=_STATUS_STYLES[status]) for status in table["status"]]
    epochs = zip(table["best_epoch"], table["epochs"], strict=True)
    trials = [Text(f"★ {n}", style="green") if row == best else Text(str(n)) for row, n in table["trial"].items()]
    return [
        *([Column("run", [_cell(name) for name in table["run"]], right=False)] if "run" in table else []),
        Column("trial", trials),
        Column("status", statuses, right=False),
        Column("score", [_cell(score, decimals=4) for score in table["score"]]),
        Column("best/epochs", [Text(f"{'–' if is_missing(at) else at}/{done}") for at, done in epochs]),
        Column("stage", [_cell(stage) for stage in table["stage"]], right=False),
    ]


def _searched_columns(table: pd.DataFrame) -> list[Column]:
    from pandas.api.types import is_numeric_dtype

    return [
        Column(short, [_cell(value) for value in table[path]], right=is_numeric_dtype(table[path]))
        for path, short in _short_names_in(table, table.columns).items()
    ]


def _asked_columns(table: pd.DataFrame, names: Sequence[str]) -> list[Column]:
    from pandas.api.types import is_numeric_dtype

    short = _short_names_in(table, names)
    return [
        Column(
            short.get(name, name),
            [_cell(_message(value) if name == "reason" else value, longest=_LONGEST_ASKED) for value in table[name]],
            right=is_numeric_dtype(table[name]),
        )
        for name in names
    ]


def _message(reason: Any) -> Any:
    """The error of a traceback; other values unchanged."""
    return one_line(reason) if isinstance(reason, str) else reason


def _short_names_in(table: pd.DataFrame, columns: Iterable[str]) -> dict[str, str]:
    """Short names of the searched values among these columns; none is the name of another column of the table."""
    taken = [name for name in table.columns if not is_searched(name)]
    return short_names((name for name in columns if is_searched(name)), taken=[*taken, "time"])


def _other_columns(table: pd.DataFrame, metric: Metric | None) -> list[Column]:
    objectives = [name for name in table.columns if name not in COLUMNS and not is_searched(name)]
    metrics = [m.value for m in Metric if m is not metric and m.value in table and table[m.value].notna().any()]
    return [
        Column(
            "time", [_time(train_s + val_s) for train_s, val_s in zip(table["train_s"], table["val_s"], strict=True)]
        ),
        *_parent_column(table),
        *_flags_column(table),
        *(Column(name, [_cell(value) for value in table[name]]) for name in objectives),
        *(Column(name, [_cell(value, decimals=3) for value in table[name]]) for name in metrics),
    ]


def _parent_column(table: pd.DataFrame) -> list[Column]:
    """`3/8`: the trial continues trial 3 from its epoch 8; no column where no trial continues another."""
    if table["parent"].isna().all():
        return []
    parents = zip(table["parent"], table["parent_epoch"], strict=True)
    cells = [_cell(None if is_missing(trial) else f"{trial}/{epoch}") for trial, epoch in parents]
    return [Column("from/epoch", cells)]


def _flags_column(table: pd.DataFrame) -> list[Column]:
    """Flags that any epoch raised; no column where there are none."""
    from rich.text import Text

    flags = ["" if is_missing(cell) else cell for cell in table["flags"]]
    if not any(flags):
        return []
    return [Column("flags", [Text(text or "–", style="yellow" if text else "dim") for text in flags], right=False)]


def _cell(value: Any, decimals: int | None = None, longest: int = 10) -> Text:
    from rich.text import Text

    if is_missing(value):
        return Text("–", style="dim")
    return Text(_short(value, longest) if decimals is None else f"{value:.{decimals}f}")


def _short(value: Any, longest: int = 10) -> str:
    """A value in at most `longest` characters; floats have three significant digits."""
    if isinstance(value, float):
        return _short_float(value)
    text = printable(str(value).lower() if isinstance(value, bool) else str(value))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _short_float(value: float) -> str:
    if value.is_integer():
        return f"{value:g}"
    if abs(value) < 1e-3:
        return re.sub(r"e-0?", "e-", f"{value:.2e}")
    # Decay rates and effective-number betas lie in 0.99 … 0.9999: three digits would show them all as 1.
    return f"{value:.5g}" if 0.99 < value < 1 else f"{value:.3g}"


def _time(seconds: float) -> Text:
    from rich.text import Text

    return _cell(None) if is_missing(seconds) else Text(_duration(seconds))


def _duration(seconds: float) -> str:
    """A duration as `42s`, `3m20s` or `2h05m`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_of_hour = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes_of_hour:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
