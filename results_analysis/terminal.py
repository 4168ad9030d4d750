"""The table of trials for a terminal: what fits, with the best trial marked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results_analysis.columns import COLUMNS
from results_analysis.table import best_of, is_missing
from trainables.layout import Flag, Metric, TrialStatus

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

_STATUS_STYLES = {
    TrialStatus.FINISHED: "green",
    TrialStatus.RUNNING: "cyan",
    TrialStatus.PRUNED: "yellow",
    TrialStatus.FAILED: "red",
}


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
    """The shortest tails that still tell dotted paths apart: `train.loss.max_margin` -> `max_margin`.

    A list's position stays, for without it nobody knows whose value it is: `train.stages[1].head_lr` ->
    `stages[1].head_lr`.
    """
    parts = {path: path.split(".") for path in paths}

    def tail(path: str, length: int) -> str:
        return ".".join(parts[path][-length:])

    def length_of(path: str) -> int:
        keys = parts[path]
        first_list = next((i for i, key in enumerate(keys) if "[" in key), len(keys) - 1)
        others = [other for other in parts if other != path]
        lengths = range(len(keys) - first_list, len(keys) + 1)
        return next((n for n in lengths if tail(path, n) not in {tail(other, n) for other in others}), len(keys))

    return {path: tail(path, length_of(path)) for path in parts}


def render(table: pd.DataFrame, metric: Metric, *, width: int = 100) -> Table:
    """The table for a terminal of `width` columns; the best trial in it is bold and marked.

    Searched values have precedence; time, flags and the other metrics are shown as far as there is room. Below the
    table: trials whose best epoch has collapsed or that ended for a flag, why trials failed, and searched values that
    found no room.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    best = best_of(table, metric)
    core, searched, others = _core_columns(table, best), _searched_columns(table), _other_columns(table, metric)
    gap = 2 if _width([*core, *searched], 2) <= width else 1
    searched, left_out = _fitting(searched, core, width, gap)
    others, _ = _fitting(others, [*core, *searched], width, gap)
    notes = [*_notes(table)]
    if left_out:
        notes.append(f"no room for {', '.join(column.heading for column in left_out)}")

    direction = "higher" if metric.mode == "max" else "lower"
    drawn = Table(
        title=Text(f"score: {metric.value}, {direction} is better"),
        caption=Text("\n".join(notes)) if notes else None,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, gap - 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    shown = [*core, *others, *searched]
    for column in shown:
        heading = Text("\n".join(column.lines))
        drawn.add_column(heading, justify="right" if column.right else "left", no_wrap=True, vertical="bottom")
    for number, cells in zip(table["trial"], zip(*(column.cells for column in shown), strict=True), strict=True):
        drawn.add_row(*cells, style="bold" if number == best else None)
    return drawn


def _fitting(
    columns: Sequence[_Column], beside: Sequence[_Column], width: int, gap: int
) -> tuple[list[_Column], list[_Column]]:
    """The columns, from the first on, that fit beside others; and those that do not."""
    counts = range(len(columns), 0, -1)
    fit = next((n for n in counts if _width([*beside, *columns[:n]], gap) <= width), 0)
    return list(columns[:fit]), list(columns[fit:])


def _width(columns: Sequence[_Column], gap: int) -> int:
    return sum(column.width for column in columns) + gap * (len(columns) - 1)


def _core_columns(table: pd.DataFrame, best: int | None) -> list[_Column]:
    from rich.text import Text

    statuses = [Text(status, style=_STATUS_STYLES[TrialStatus(status)]) for status in table["status"]]
    epochs = zip(table["best_epoch"], table["epochs"], strict=True)
    return [
        _Column("trial", [Text(f"★ {n}", style="green") if n == best else Text(str(n)) for n in table["trial"]]),
        _Column("status", statuses, right=False),
        _Column("score", [_cell(score, decimals=4) for score in table["score"]]),
        _Column("best/epochs", [Text(f"{'–' if is_missing(at) else at}/{done}") for at, done in epochs]),
        _Column("stage", [_cell(stage) for stage in table["stage"]], right=False),
    ]


def _searched_columns(table: pd.DataFrame) -> list[_Column]:
    from pandas.api.types import is_numeric_dtype

    names = short_names(name for name in table.columns if name not in COLUMNS)
    return [
        _Column(short, [_cell(value) for value in table[path]], right=is_numeric_dtype(table[path]))
        for path, short in names.items()
    ]


def _other_columns(table: pd.DataFrame, metric: Metric) -> list[_Column]:
    from rich.text import Text

    metrics = [m.value for m in Metric if m is not metric and m.value in table and table[m.value].notna().any()]
    return [
        _Column("time", [Text(_duration(seconds)) for seconds in table["train_s"]]),
        *_flags_column(table),
        *(_Column(name, [_cell(value, decimals=3) for value in table[name]]) for name in metrics),
    ]


def _flags_column(table: pd.DataFrame) -> list[_Column]:
    """Flags raised in some epoch; no column where there are none."""
    from rich.text import Text

    flags = ["" if is_missing(cell) else cell for cell in table["flags"]]
    if not any(flags):
        return []
    return [_Column("flags", [Text(text or "–", style="yellow" if text else "dim") for text in flags], right=False)]


def _cell(value: Any, decimals: int | None = None) -> Text:
    from rich.text import Text

    if is_missing(value):
        return Text("–", style="dim")
    return Text(_short(value) if decimals is None else f"{value:.{decimals}f}")


def _short(value: Any) -> str:
    """A searched value in at most ten characters: floats with three significant digits."""
    if isinstance(value, float):
        return _short_float(value)
    text = _one_line(str(value).lower() if isinstance(value, bool) else str(value))
    return text if len(text) <= 10 else f"{text[:9]}…"


def _short_float(value: float) -> str:
    if value.is_integer():
        return f"{value:g}"
    if abs(value) < 1e-3:
        return re.sub(r"e-0?", "e-", f"{value:.2e}")
    # Decay rates and effective-number betas live in 0.99…0.9999: three digits would call them all 1.
    return f"{value:.5g}" if 0.99 < value < 1 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    """`42s`, `3m20s`, `2h05m`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_of_hour = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes_of_hour:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def _notes(table: pd.DataFrame) -> Iterator[str]:
    if table.empty:
        yield "no trials"
    collapsed = table.loc[table["flags_at_best"].fillna("").str.split(", ").map(lambda f: Flag.COLLAPSE in f), "trial"]
    if len(collapsed):
        yield f"{_named(collapsed)} had collapsed even in the best epoch"
    for flag, rows in table.groupby("stopped_for"):
        yield f"{_named(rows['trial'])} stopped for {flag}"
    failed = table[table["status"] == TrialStatus.FAILED.value]
    for reason, rows in failed.groupby(failed["reason"].fillna("no reason recorded"), sort=False):
        yield f"{_named(rows['trial'])} failed: {_one_line(str(reason))}"


def _named(numbers: Iterable[int]) -> str:
    """`trials 3, 9`"""
    ordered = sorted(numbers)
    return f"trial{'s' if len(ordered) > 1 else ''} {', '.join(map(str, ordered))}"


def _one_line(text: str) -> str:
    """The last line that says something (of a traceback: the error), without what would control the terminal."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "".join(c if c.isprintable() else "·" for c in lines[-1].strip()) if lines else ""
