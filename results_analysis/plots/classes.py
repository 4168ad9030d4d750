"""Recall of each class and confusion matrix, in an epoch: the best one of the best trial, or of a training run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from results_analysis.plots.style import BLUE, escaped, new_figure, short_labels
from results_analysis.statistics.score_interval import proportion_interval
from trainables.run_folder.trial_columns import Report

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

SHOWN = 60
"""Number of classes that are drawn; of more, only the worst."""


def class_recall(report: Report, names: Sequence[str]) -> pd.DataFrame:
    """Table with one row a class: `class`, `images` (of validation), `recall`, its 95% interval `low`, `high`,
    `precision`, `f1`, `predicted`.

    In the order of the labels; empty in regression and for an empty report. `recall` is missing for a class without images.

    Args:
        report: report of the epoch; empty where there is none.
        names: names of the classes.
    """
    import pandas as pd

    per_class = report.get("per_class") or {}
    counts = per_class.get("true_count", [])
    rows = []
    for i, name in enumerate(names[: len(counts)]):
        images = int(counts[i])
        recall = per_class["recall"][i] if images else None
        low, high = proportion_interval(round((recall or 0) * images), images)
        rows.append(
            {
                "class": name,
                "images": images,
                "recall": recall,
                "low": low,
                "high": high,
                "precision": per_class["precision"][i],
                "f1": per_class["f1"][i],
                "predicted": int(per_class["predicted_count"][i]),
            }
        )
    columns = ["class", "images", "recall", "low", "high", "precision", "f1", "predicted"]
    return pd.DataFrame(rows, columns=columns).astype({"recall": "float64"})


def confusion(report: Report, names: Sequence[str]) -> pd.DataFrame:
    """Confusion matrix: images by true class (rows) and predicted class (columns); empty in regression.

    Args:
        report: report of the epoch; empty where there is none.
        names: names of the classes.
    """
    import pandas as pd

    return pd.DataFrame(report.get("confusion") or [], index=list(names), columns=list(names))


def draw_class_recall(frame: pd.DataFrame) -> Figure:
    """Draws the recall of each class with its interval, the first class on top."""
    from plotly import graph_objects as go

    shown = frame.dropna(subset=["recall"])
    if len(shown) > SHOWN:
        shown = shown.nsmallest(SHOWN, "recall")
    shown = shown.iloc[::-1]
    figure = new_figure(height=90 + 24 * max(len(shown), 2), showlegend=False)
    figure.add_trace(
        go.Scatter(
            x=shown["recall"],
            y=_labels(shown["class"]),
            mode="markers",
            marker={"size": 10, "color": BLUE},
            error_x={
                "type": "data",
                "array": shown["high"] - shown["recall"],
                "arrayminus": shown["recall"] - shown["low"],
                "color": BLUE,
                "thickness": 2,
                "width": 0,
            },
            customdata=shown[["images", "low", "high", "precision"]],
            hovertemplate="%{y}: recall %{x:.3f} (%{customdata[1]:.2f} … %{customdata[2]:.2f}), precision "
            "%{customdata[3]:.3f}, %{customdata[0]} images<extra></extra>",
        )
    )
    figure.update_xaxes(title="recall, with its 95% interval", range=[-0.02, 1.04])
    figure.update_yaxes(type="category", range=[-0.7, len(shown) - 0.3])
    return figure


def draw_confusion(frame: pd.DataFrame) -> Figure:
    """Draws the confusion matrix, coloured by the share of each row."""
    from plotly import graph_objects as go

    shares = frame.div(frame.sum(axis=1).replace(0, 1), axis=0)
    labels = _labels(frame.index)
    few = len(frame) <= 20
    figure = new_figure(height=min(160 + 30 * max(len(frame), 4), 760))
    figure.add_trace(
        go.Heatmap(
            z=shares.to_numpy(),
            x=labels,
            y=labels,
            customdata=frame.to_numpy(),
            text=frame.to_numpy(),
            texttemplate="%{text}" if few else None,
            colorscale="Cividis",
            zmin=0,
            zmax=1,
            xgap=1 if few else 0,
            ygap=1 if few else 0,
            hovertemplate="%{y} predicted as %{x}: %{customdata} images, %{z:.1%} of the class<extra></extra>",
            showscale=not few,
            colorbar={
                "title": {"text": "share of the true class", "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
            },
        )
    )
    figure.update_xaxes(title="predicted", type="category", showgrid=False)
    figure.update_yaxes(title="true", type="category", autorange="reversed", showgrid=False)
    return figure


def _labels(names: Iterable[str]) -> list[str]:
    """Class names as axis labels: distinct, because plotly merges equal labels into one."""
    return [escaped(label) for label in short_labels(names)]
