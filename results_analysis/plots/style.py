"""What all pictures share: colours, margins, words. The page sets the colour of text, which depends on light and dark."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from trainables.layout import Metric, TrialStatus

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLUE, ORANGE, GREEN, VERMILION = "#2f84c6", "#e09a1a", "#149e77", "#d55e00"
PURPLE, SKY = "#c46d9f", "#63b3e4"
GREY = "#8c919b"
FAINT = "rgba(140,145,155,0.28)"
"""Of what is there for comparison."""

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

SCORES = "Cividis"
"""Scale of a score, from worse to better."""

MANY = 2000
"""Points beyond which they are drawn by the graphics card."""


def plain(text: object) -> str:
    """Text as plotly shows it unchanged: it reads tags and entities in every label."""
    return html.escape(str(text), quote=False)


def said(metric: Metric) -> str:
    """A metric's name in words, with where the better side is."""
    return f"{words(metric.value)} ({'lower' if metric.mode == 'min' else 'higher'} is better)"


def words(name: str) -> str:
    """`val_loss` -> `validation loss`"""
    spoken = {"val_loss": "validation loss", "train_loss": "training loss", "auc": "AUC", "r2": "R²", "mae": "MAE"}
    spoken |= {"rmse": "RMSE", "macro_f1": "macro F1", "corrected_macro_f1": "corrected macro F1"}
    return spoken.get(name, name.replace("_", " "))


def new_figure(*, height: int = 380, **layout: Any) -> Figure:
    """An empty picture in the page's style."""
    from plotly.graph_objects import Figure

    figure = Figure(layout={"template": _template()})
    figure.update_layout(height=height, **layout)
    return figure


def faceted(titles: Iterable[str], *, columns: int, row_height: int, **options: Any) -> Figure:
    """Small pictures beside each other, each with its title, in the page's style."""
    from plotly.subplots import make_subplots

    titles = list(titles)
    rows = -(-len(titles) // columns)
    height = rows * row_height + 40
    options = {"vertical_spacing": min(64 / height, 1 / max(rows, 2)), "horizontal_spacing": 0.08, **options}
    figure = make_subplots(rows=rows, cols=columns, subplot_titles=titles, **options)
    figure.update_layout(template=_template(), height=height)
    figure.update_annotations(font_size=12)
    return figure


def _template() -> Any:
    from plotly.graph_objects.layout import Template

    axis = {
        "gridcolor": "rgba(140,145,155,0.18)",
        "zeroline": False,
        "linecolor": "rgba(140,145,155,0.5)",
        "automargin": True,
        "title": {"standoff": 8},
        "ticks": "",
    }
    return Template(
        layout={
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 12},
            "margin": {"l": 8, "r": 12, "t": 28, "b": 8},
            "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0},
            "hoverlabel": {"align": "left"},
            "hovermode": "closest",
            "xaxis": axis,
            "yaxis": axis,
            "colorway": [BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION],
        }
    )
