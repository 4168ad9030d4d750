"""The table of trials for a terminal: what fits, with the best trial marked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results_analysis.runs.columns import COLUMNS, UNREADABLE, is_searched
from results_analysis.tables.file_formats import is_missing
from results_analysis.tables.results_table import best_row
from results_analysis.tables.trial_notes import notes_on, one_line
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
"""Characters of a cell in a column that was asked for by name."""


@dataclass(frozen=True)
class _Column:
    heading: str
    cells: Sequence[Text]
    right: bool = True

    @property
    def lines(self) -> list[str]:
        """The heading, broken at its joints so that it widens the column no more than it must."""
        pieces = re.split(r"(?<=[._/])|(?=\[)", self.heading)
        width = max([len(piece) for piece in pieces] + [cell.cell_len for cell in self.cells])
        lines = [""]
        for piece in pieces:
            lines[-1:] = [lines[-1] + piece] if len(lines[-1] + piece) <= width else [lines[-1], piece]
        return lines

    @property
    def width(self) -> int:
        return max([len(line) for line in self.lines] + [cell.cell_len for cell in self.cells])


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Tails that tell dotted paths apart and still say what they are of: `train.loss.kind` -> `loss.kind`.

    A list's position stays, for without it nobody knows whose value it is: `train.stages[1].head_lr` ->
    `stages[1].head_lr`.
    """
    parts = {path: path.split(".") for path in paths}

    def tail(path: str, length: int) -> str:
        return ".".join(parts[path][-length:])

    def length_of(path: str) -> int:
        keys = parts[path]
        owner = len(keys) - (2 if len(keys) > 2 else 1)  # data, model and train own nearly everything: they say nothing
        first = next((i for i, key in enumerate(keys) if "[" in key), owner)
        others = [other for other in parts if other != path]
        lengths = range(len(keys) - first, len(keys) + 1)
        return next((n for n in lengths if tail(path, n) not in {tail(other, n) for other in others}), len(keys))

    return {path: tail(path, length_of(path)) for path in parts}


def render(
    table: pd.DataFrame,
    metric: Metric | None,
    *,
    width: int = 100,
    top: int | None = None,
    columns: Sequence[str] | None = None,
) -> Table:
    """The table for a terminal of `width` columns; the best trial in it is bold and marked.

    Searched values have precedence; time, flags and the other metrics are shown as far as there is room. Below the
    table: how many trials are not shown, what is to be known of all of them (`notes_on`), and searched values that found no
    room.

    Args:
        metric: what score is; None: something else in each run.
        top: draw only so many rows.
        columns: draw these, as far as there is room.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    best = None if metric is None else best_row(table, metric)
    drawn_rows = table.head(len(table) if top is None else top)
    if columns is None:
        shown, left_out, gap = _usual_columns(drawn_rows, metric, best, width)
    else:
        shown, left_out = _fitting([_asked_column(drawn_rows, name) for name in columns], [], width, gap := 2)
    notes = [f"… {hidden} more, --top 0 for all"] if (hidden := len(table) - len(drawn_rows)) else []
    notes += notes_on(table)
    if left_out:
        notes.append(f"no room for {', '.join(column.heading for column in left_out)}")

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
) -> tuple[list[_Column], list[_Column], int]:
    """The columns that are shown, the searched values that found no room, and the gap between columns."""
    core, searched, others = _core_columns(table, best), _searched_columns(table), _other_columns(table, metric)
    gap = 2 if _width([*core, *searched], 2) <= width else 1
    searched, left_out = _fitting(searched, core, width, gap)
    others, _ = _fitting(others, [*core, *searched], width, gap)
    return [*core, *others, *searched], left_out, gap


def _fitting(
    columns: Sequence[_Column], beside: Sequence[_Column], width: int, gap: int
) -> tuple[list[_Column], list[_Column]]:
    """The columns, from the first on, that fit beside others; and those that do not."""
    counts = range(len(columns), 0, -1)
    fit = next((n for n in counts if _width([*beside, *columns[:n]], gap) <= width), 0)
    return list(columns[:fit]), list(columns[fit:])


def _width(columns: Sequence[_Column], gap: int) -> int:
    return sum(column.width for column in columns) + gap * (len(columns) - 1)


def _core_columns(table: pd.DataFrame, best: Any) -> list[_Column]:
    from rich.text import Text

    statuses = [Text(status, style=_STATUS_STYLES[status]) for status in table["status"]]
    epochs = zip(table["best_epoch"], table["epochs"], strict=True)
    trials = [Text(f"★ {n}", style="green") if row == best else Text(str(n)) for row, n in table["trial"].items()]
    return [
        *([_Column("run", [_cell(name) for name in table["run"]], right=False)] if "run" in table else []),
        _Column("trial", trials),
        _Column("status", statuses, right=False),
        _Column("score", [_cell(score, decimals=4) for score in table["score"]]),
        _Column("best/epochs", [Text(f"{'–' if is_missing(at) else at}/{done}") for at, done in epochs]),
        _Column("stage", [_cell(stage) for stage in table["stage"]], right=False),
    ]


def _searched_columns(table: pd.DataFrame) -> list[_Column]:
    from pandas.api.types import is_numeric_dtype

    names = short_names(name for name in table.columns if is_searched(name))
    return [
        _Column(short, [_cell(value) for value in table[path]], right=is_numeric_dtype(table[path]))
        for path, short in names.items()
    ]


def _asked_column(table: pd.DataFrame, name: str) -> _Column:
    from pandas.api.types import is_numeric_dtype

    cells = [_cell(value, longest=_LONGEST_ASKED) for value in table[name]]
    return _Column(name, cells, right=is_numeric_dtype(table[name]))


def _other_columns(table: pd.DataFrame, metric: Metric | None) -> list[_Column]:

    objectives = [name for name in table.columns if name not in COLUMNS and not is_searched(name)]
    metrics = [m.value for m in Metric if m is not metric and m.value in table and table[m.value].notna().any()]
    return [
        _Column(
            "time", [_time(train_s + val_s) for train_s, val_s in zip(table["train_s"], table["val_s"], strict=True)]
        ),
        *_parent_column(table),
        *_flags_column(table),
        *(_Column(name, [_cell(value) for value in table[name]]) for name in objectives),
        *(_Column(name, [_cell(value, decimals=3) for value in table[name]]) for name in metrics),
    ]


def _parent_column(table: pd.DataFrame) -> list[_Column]:
    """`3/8`: goes on from trial 3 after its epoch 8; no column where no trial does."""
    if table["parent"].isna().all():
        return []
    came = zip(table["parent"], table["parent_epoch"], strict=True)
    return [_Column("from/epoch", [_cell(None if is_missing(trial) else f"{trial}/{epoch}") for trial, epoch in came])]


def _flags_column(table: pd.DataFrame) -> list[_Column]:
    """Flags raised in some epoch; no column where there are none."""
    from rich.text import Text

    flags = ["" if is_missing(cell) else cell for cell in table["flags"]]
    if not any(flags):
        return []
    return [_Column("flags", [Text(text or "–", style="yellow" if text else "dim") for text in flags], right=False)]


def _cell(value: Any, decimals: int | None = None, longest: int = 10) -> Text:
    from rich.text import Text

    if is_missing(value):
        return Text("–", style="dim")
    return Text(_short(value, longest) if decimals is None else f"{value:.{decimals}f}")


def _short(value: Any, longest: int = 10) -> str:
    """A value in at most so many characters: floats with three significant digits."""
    if isinstance(value, float):
        return _short_float(value)
    text = one_line(str(value).lower() if isinstance(value, bool) else str(value))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _short_float(value: float) -> str:
    if value.is_integer():
        return f"{value:g}"
    if abs(value) < 1e-3:
        return re.sub(r"e-0?", "e-", f"{value:.2e}")
    # Decay rates and effective-number betas live in 0.99…0.9999: three digits would call them all 1.
    return f"{value:.5g}" if 0.99 < value < 1 else f"{value:.3g}"


def _time(seconds: float) -> Text:
    from rich.text import Text

    return _cell(None) if is_missing(seconds) else Text(_duration(seconds))


def _duration(seconds: float) -> str:
    """`42s`, `3m20s`, `2h05m`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_of_hour = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes_of_hour:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
