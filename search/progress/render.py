"""Renders the state of a search, a `SearchState`, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from search.progress.search_state import TOP, Row, SearchState
from trainables.core.vocabulary import TrialStatus

_RUNNING, _LEAST = 10, 3
"""Most running trials that are shown, and rows of each part that are shown even in a very low terminal."""


@dataclass(frozen=True)
class Picture:
    """State of a search at one moment."""

    name: str
    search_state: SearchState
    now: float
    """Seconds since 1970."""
    state: str | None = None
    """State of the driver as text: `stopped; resume with thaw resume digits`. None: it is running."""
    usage: str | None = None
    """Usage of the machine or cluster: `CPU 16/16 · GPU 2/2`."""


def duration(seconds: float) -> str:
    """Duration as text: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def headline(picture: Picture) -> str:
    """Status line: `digits  7/16 trials · 3 finished · 4 pruned · 2 running · best 0.9312 (trial 3) · about 2 min
    left`."""
    start, *outlook = _outlook(picture)
    return " · ".join([start, *_counts(picture), *outlook])


def rung_line(search_state: SearchState) -> str | None:
    """Line about the rungs: `continued after epoch 4: 30 of 95 · 12: 9 of 28`; None before a trial has reached a rung."""
    shares = search_state.rungs.unit == "compute"
    parts = [
        f"{f'{at:.0%}' if shares else f'{at:g}'}: {passed} of {reached}"
        for at, reached, passed in zip(
            search_state.rungs.positions, search_state.reached, search_state.passed, strict=True
        )
        if reached
    ]
    after = {"epochs": "after epoch", "stages": "after stage", "compute": "at a share of the compute of"}
    return f"continued {after[search_state.rungs.unit]} {' · '.join(parts)}" if parts else None


def draw(picture: Picture, *, height: int | None = None) -> Group:
    """Renders a search.

    Args:
        picture: state of the search.
        height: number of lines available; None: no limit.
    """
    search_state = picture.search_state
    lines: list[Text | Table] = [
        Text(" · ".join(_outlook(picture)), style="bold"),
        Text(" · ".join([*_counts(picture), *([picture.usage] if picture.usage else [])]), style="dim"),
    ]
    if picture.state:
        lines.append(Text(picture.state, style="yellow"))
    if rungs := rung_line(search_state):
        lines.append(Text(rungs, style="dim"))
    running, top, events = _room(picture, None if height is None else height - len(lines))
    shown = sorted(search_state.running.values(), key=lambda row: row.number)
    lines += _part("running" if picture.state is None else "cut off", shown, running, search_state)
    lines += _part("best", search_state.top[:top], top, search_state)
    if search_state.events and events:
        lines.append(Text("last", style="dim"))
        lines += [_event(*event) for event in search_state.events[-events:]]
    return Group(*lines)


def _outlook(picture: Picture) -> list[str]:
    search_state = picture.search_state
    parts = [f"{picture.name}  {search_state.ended}/{search_state.total} trials"]
    if search_state.best and search_state.best.best is not None:
        parts.append(f"best {search_state.best.best:.4f} (trial {search_state.best.number})")
    left = search_state.seconds_left(now=picture.now)
    if left is not None and search_state.ended < search_state.total and picture.state is None:
        parts.append(f"about {duration(left)} left")
    return parts


def _counts(picture: Picture) -> list[str]:
    search_state = picture.search_state
    ended = [f"{search_state.counts[status]} {status}" for status in TrialStatus if status in search_state.counts]
    running = f"{len(search_state.running)} {'running' if picture.state is None else 'cut off'}"
    return ended + ([running] if search_state.running else [])


def _room(picture: Picture, height: int | None) -> tuple[int, int, int]:
    """Rows for running trials, the best ones and events: all, or as many as fit into the terminal."""
    search_state = picture.search_state
    wanted = [min(len(search_state.running), _RUNNING), min(len(search_state.top), TOP), len(search_state.events)]
    if height is None:
        return wanted[0], wanted[1], wanted[2]
    # Headings, the line that counts what is left out, and one line that a prompt may take.
    spare = height - sum(wanted) - 4 - sum(map(bool, wanted))
    while spare < 0 and max(wanted) > _LEAST:
        wanted[wanted.index(max(wanted))] -= 1
        spare += 1
    return wanted[0], wanted[1], wanted[2]


def _part(title: str, rows: Sequence[Row], room: int, search_state: SearchState) -> Iterable[Text | Table]:
    """Table of some trials, and a line that says how many more there are."""
    if not rows:
        return
    shown = rows[:room]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in (title, "status", "stage", "epoch", "loss", search_state.metric.value, "best", "flags"):
        if (column == "status" and title != "best") or (column == "flags" and not any(row.flags for row in shown)):
            continue
        is_text = column in {"status", "stage", "flags"}
        justify: JustifyMethod = "left" if is_text else "right"
        table.add_column(column, justify=justify, no_wrap=column != "stage")  # the only column that may be cut
    for row in shown:
        status = [row.status.value] if title == "best" else []
        flags = [", ".join(row.flags)] if any(other.flags for other in shown) else []
        table.add_row(str(row.number), *status, *_progress(row), *flags)
    yield table
    if (more := len(rows) - len(shown)) > 0:
        yield Text(f"and {more} more", style="dim")


def _progress(row: Row) -> list[str | Text]:
    """Cells of a trial's stage, epoch, loss, score and best score."""
    stage = Text(row.activity or row.stage or "starts", no_wrap=True, overflow="ellipsis")
    return [stage, str(row.epoch or "–"), *map(_number, (row.loss, row.score, row.best))]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _event(at: float, what: str) -> Text:
    return Text(f"{datetime.fromtimestamp(at):%H:%M:%S}  {what}", no_wrap=True, overflow="ellipsis")
