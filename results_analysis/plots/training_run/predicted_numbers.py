"""Predicted against true numbers of the validation images, in regression."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results_analysis.plots.style import BLUE, DRAWN, GREY, new_figure, subsampled

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


def predicted_numbers(predictions: pd.DataFrame) -> pd.DataFrame:
    """Table with a row for each validation image: `image`, `truth`, `prediction`, `error`; sorted by truth."""
    import pandas as pd

    truth, predicted = predictions["label"].astype(float), predictions["prediction"].astype(float)
    frame = pd.DataFrame(
        {"image": predictions["image"], "truth": truth, "prediction": predicted, "error": predicted - truth}
    )
    return frame.sort_values("truth", kind="stable", ignore_index=True)


def draw_predicted_numbers(frame: pd.DataFrame) -> Figure:
    """Draws a point for each image, and the line on which predictions are exact."""
    from plotly import graph_objects as go

    shown = subsampled(frame, DRAWN)
    low, high = float(frame["truth"].min()), float(frame["truth"].max())
    figure = new_figure(height=420)
    figure.add_trace(
        go.Scatter(
            x=shown["truth"], y=shown["prediction"], mode="markers", name="validation images",
            marker={"size": 6, "color": BLUE, "opacity": 0.6},
            hovertemplate="true %{x:.4g}, predicted %{y:.4g}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=[low, high], y=[low, high], mode="lines", name="exact", hoverinfo="skip",
            line={"color": GREY, "dash": "dot"},
        )
    )  # fmt: skip
    figure.update_xaxes(title="true")
    figure.update_yaxes(title="predicted")
    return figure
