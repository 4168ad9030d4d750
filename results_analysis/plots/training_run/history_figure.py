"""History of a run as a figure of the report: loss, score, learning rates and the gradient's norm by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from results_analysis.plots.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    around_equal,
    escaped,
    new_figure,
    short_label,
    whole,
    words,
)
from results_analysis.plots.training_run.history import Curve, History, is_log
from trainables.core.vocabulary import Metric

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


class Line(NamedTuple):
    """Appearance of a curve."""

    label: str
    colour: str
    dash: str


_LINES = {
    "train_loss": Line("training loss", ORANGE, "dash"),
    "val_loss": Line("validation loss", BLUE, "solid"),
    "score": Line("score", BLUE, "solid"),
    "train_accuracy": Line("training accuracy", ORANGE, "dash"),
    "accuracy": Line("validation accuracy", GREEN, "dashdot"),
    "head_lr": Line("learning rate of the head", PURPLE, "solid"),
    "backbone_lr": Line("learning rate of the backbone", GREEN, "dash"),
    "grad_norm": Line("norm of the gradient", SKY, "solid"),
}
_ROW = 230
"""Height of a row, in pixels."""


def history_table(drawn: History) -> pd.DataFrame:
    """Table with a row for each epoch: `epoch`, `stage`, and the curves that there are."""
    import pandas as pd

    stages = [span.name for span in drawn.stages for _ in range(span.last - span.first + 1)]
    named = stages if len(stages) == len(drawn.epochs) else [""] * len(drawn.epochs)
    return pd.DataFrame({"epoch": drawn.epochs, "stage": named, **drawn.curves})


def rows_of(drawn: History, metric: Metric) -> dict[str, list[str]]:
    """Title of a row -> names of the curves in it, without those that the run does not have."""
    accuracies = drawn.has("train_accuracy", "accuracy") if "train_accuracy" in drawn.curves else []
    beside = [name for name in accuracies if name != metric.value]
    rows = {
        "loss": drawn.has("train_loss", "val_loss"),
        "score": drawn.has("score", *beside) if metric is not Metric.VAL_LOSS else [],
        "learning rate": drawn.has("head_lr", "backbone_lr"),
        "gradient": drawn.has("grad_norm"),
    }
    return {title: names for title, names in rows.items() if names}


def draw_history(drawn: History, metric: Metric) -> Figure:
    """Draws the curves below each other, with the stages' names above the first and a star at the best epoch.

    Args:
        drawn: numbers of the history.
        metric: the metric that is the score.
    """
    rows = rows_of(drawn, metric)
    figure = new_figure(height=110 + _ROW * len(rows))
    figure.set_subplots(rows=len(rows), cols=1, shared_xaxes=True, vertical_spacing=0.16 / max(len(rows), 2))
    for row, (title, names) in enumerate(rows.items(), start=1):
        for name in names:
            _add_line(figure, drawn, name, metric, row)
        curves = [drawn.curves[name] for name in names]
        flat = around_equal(value for curve in curves for value in curve)
        is_wide = is_log(curves, spread=1 if title == "learning rate" else 30)
        scale = flat or (_log_axis(curves) if is_wide else {})
        figure.update_yaxes(title=words(metric.value) if names == ["score"] else title, **scale, row=row, col=1)
    best_row = next((row for row, names in enumerate(rows.values(), start=1) if _scored(metric) in names), None)
    if best_row and drawn.best_epoch in drawn.epochs:
        _add_best(figure, drawn, metric, best_row)
    _add_stages(figure, drawn)
    figure.update_xaxes(range=[drawn.epochs[0] - 0.5, drawn.epochs[-1] + 0.5])
    figure.update_xaxes(title="epoch", row=len(rows), col=1, **whole(len(drawn.epochs)))
    return figure


def _log_axis(curves: Sequence[Curve]) -> dict[str, Any]:
    """Logarithmic axis with plain numbers at 1, 2 and 5 of each decade, or at 1 where there are many decades."""
    values = [value for curve in curves for value in curve if math.isfinite(value)]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in ((1, 2, 5) if high - low < 3 else (1,))]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _scored(metric: Metric) -> str:
    """Curve that the best epoch is marked on."""
    return "val_loss" if metric is Metric.VAL_LOSS else "score"


def _add_line(figure: Figure, drawn: History, name: str, metric: Metric, row: int) -> None:
    from plotly import graph_objects as go

    line = _LINES[name]
    label = words(metric.value) if name == "score" else line.label
    figure.add_trace(
        go.Scatter(
            x=drawn.epochs, y=_plain(drawn.curves[name]), name=label, mode="lines+markers",
            line={"color": line.colour, "dash": line.dash, "width": 2},
            marker={"size": 5 if len(drawn.epochs) <= 60 else 2},
            hovertemplate=f"epoch %{{x}}: {label} %{{y:.4g}}<extra></extra>",
        ),
        row=row, col=1,
    )  # fmt: skip


def _add_best(figure: Figure, drawn: History, metric: Metric, row: int) -> None:
    from plotly import graph_objects as go

    value = drawn.curves[_scored(metric)][drawn.epochs.index(drawn.best_epoch or 0)]
    if math.isfinite(value):
        figure.add_trace(
            go.Scatter(
                x=[drawn.best_epoch], y=[value], mode="markers", name=f"best epoch ({drawn.best_epoch})",
                marker={"symbol": "star", "size": 13, "color": BLUE},
                hovertemplate="best epoch %{x}: %{y:.4f}<extra></extra>",
            ),
            row=row, col=1,
        )  # fmt: skip


def _add_stages(figure: Figure, drawn: History) -> None:
    total = len(drawn.epochs)
    for place, span in enumerate(drawn.stages):
        if place:
            figure.add_vline(span.first - 0.5, line={"dash": "dot", "width": 1, "color": GREY})
        room = int(60 * (span.last - span.first + 1) / total)
        if room >= 3:  # narrower stages have their names in the table of stages
            figure.add_annotation(
                x=(span.first + span.last) / 2, y=1, yref="paper", yanchor="bottom", showarrow=False, font_size=11,
                text=escaped(short_label(span.name, max(room, 4))),
            )  # fmt: skip
    figure.update_layout(legend={"y": 1.0 + 28 / figure.layout.height, "yref": "paper"})


def _plain(curve: Curve) -> list[float | None]:
    """Values with None in place of NaN, at which the line is broken."""
    return [value if math.isfinite(value) else None for value in curve]
