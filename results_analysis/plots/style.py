"""Colours, margins and words that all pictures share. The page sets the colour of text for its light and dark themes."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from trainables.core.printable import printable
from trainables.core.vocabulary import METRICS, Metric, TrialStatus

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

BLUE, ORANGE, GREEN, VERMILION = "#2f84c6", "#e09a1a", "#149e77", "#d55e00"
PURPLE, SKY = "#c46d9f", "#63b3e4"
GREY = "#8c919b"
FAINT = "rgba(140,145,155,0.28)"
"""Colour of lines that are only there for comparison."""

STAGES = (SKY, ORANGE, GREEN, PURPLE, BLUE, VERMILION)
"""Colours of stages, in their order."""

STATUS_COLOURS = {
    TrialStatus.FINISHED: BLUE,
    TrialStatus.PRUNED: ORANGE,
    TrialStatus.RUNNING: GREEN,
    TrialStatus.FAILED: VERMILION,
}
STATUS_SYMBOLS = {
    TrialStatus.FINISHED: "circle",
    TrialStatus.PRUNED: "x-thin-open",
    TrialStatus.RUNNING: "diamond-open",
    TrialStatus.FAILED: "triangle-down-open",
}

_FRONT = (TrialStatus.PRUNED, TrialStatus.RUNNING, TrialStatus.FINISHED)
FRONT_LAST = (*(status for status in TrialStatus if status not in _FRONT), *_FRONT)
"""Order of drawing: later statuses are drawn over earlier ones."""

SCORES = "Cividis"
"""Colour scale of a score, from worse to better."""

DRAWN = 2500
"""Largest number of points in a picture: more would slow the page down without showing more."""


def subsampled(frame: pd.DataFrame, most: int, *, first: int = 0) -> pd.DataFrame:
    """At most `most` rows: the first ones, and others spread evenly over the rest.

    Args:
        frame: any table.
        most: largest number of rows.
        first: number of rows at the start that all stay.
    """
    import numpy as np

    if len(frame) <= most:
        return frame
    rest = np.linspace(first, len(frame) - 1, most - first).round().astype(int)
    return frame.iloc[[*range(first), *rest]]


def marker_of(status: TrialStatus, *, size: int = 7, opacity: float = 0.9) -> dict[str, Any]:
    """Appearance of a trial's mark.

    Args:
        status: of the trial.
        size: in pixels.
        opacity: from 0 to 1.
    """
    colour = STATUS_COLOURS.get(status, GREY)
    line = {"width": 1.5, "color": colour}
    return {
        "color": colour,
        "symbol": STATUS_SYMBOLS.get(status, "square-open"),
        "size": size,
        "opacity": opacity,
        "line": line,
    }


def escaped(text: object) -> str:
    """Escapes a text, because plotly reads tags and entities in every label."""
    return html.escape(str(text), quote=False)


def short_label(name: object, most: int = 24) -> str:
    """A name on one line, cut in its middle, because long names often differ at their ends.

    Args:
        name: any text.
        most: most characters.
    """
    text = printable(str(name))
    tail = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - tail]}…{text[-tail:]}"


def short_labels(names: Iterable[object], most: int = 24) -> list[str]:
    """Names on one line each, cut and distinct: those that are cut alike get their positions, counted from 0.

    Args:
        names: any texts.
        most: most characters, without the positions.
    """
    short = [short_label(name, most) for name in names]
    return [text if short.count(text) == 1 else f"{text} ({i})" for i, text in enumerate(short)]


def axis_title(metric: Metric) -> str:
    """Name of a metric in words, with the direction that is better."""
    return f"{words(metric.value)} ({'lower' if metric.mode == 'min' else 'higher'} is better)"


def words(name: str) -> str:
    """Name of a metric in words: `val_loss` -> `validation loss`."""
    short = {metric.value: spec.words for metric, spec in METRICS.items() if spec.words}
    spoken = {**short, "train_loss": "training loss", "spearman": "Spearman's rank correlation"}
    return spoken.get(name, name.replace("_", " "))


def whole(most: int) -> dict[str, Any]:
    """Axis of whole numbers up to `most`. Up to 10 each has a tick, because plotly would put ticks between them."""
    return {"tickformat": "d", "dtick": 1 if most <= 10 else None}


def around_equal(values: Iterable[float]) -> dict[str, Any]:
    """Range of an axis whose values are all the same, a tenth to either side: plotly would show 0 … 2 around 1; else empty."""
    finite = {value for value in values if value is not None and math.isfinite(value)}
    if len(finite) != 1:
        return {}
    value = float(finite.pop())
    room = abs(value) / 10 or 0.1
    return {"range": [value - room, value + room]}


def new_figure(*, height: int | None = 380, **layout: Any) -> Figure:
    """An empty picture in the page's style."""
    from plotly.graph_objects import Figure

    figure = Figure(layout={"template": _template()})
    figure.update_layout(height=height, **layout)
    return figure


def _template() -> dict[str, Any]:
    axis = {
        "gridcolor": "rgba(140,145,155,0.18)",
        "zeroline": False,
        "linecolor": "rgba(140,145,155,0.5)",
        "automargin": True,
        "ticklabelstandoff": 5,
        "title": {"standoff": 8},
        "ticks": "",
    }
    return {
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 12.5},
            "margin": {"l": 8, "r": 12, "t": 28, "b": 8},
            "legend": {
                "orientation": "h",
                "yanchor": "bottom",
                "y": 1.02,
                "xanchor": "left",
                "x": 0,
                "traceorder": "normal",
            },
            "hoverlabel": {"align": "left"},
            "hovermode": "closest",
            "xaxis": axis,
            "yaxis": axis,
            "colorway": [BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION],
        }
    }
