"""Learning curves: the best trials in colour, the rest as a band, and marks for events."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from results_analysis.plots.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    around_equal,
    new_figure,
    whole,
    words,
)
from results_analysis.tables.run_snapshot import Snapshot, records
from trainables.core.vocabulary import Metric, TrialStatus

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

TOP = 6
"""Number of best trials that are drawn in colour."""
OTHERS = 60
"""Number of further trials that are drawn as thin lines; the band covers all."""

QUANTITIES = ("score", "val_loss")


class Mark(NamedTuple):
    """Appearance of an event in an epoch."""

    words: str
    symbol: str
    colour: str


MARKS = {
    "pruned": Mark("pruned", "x-thin-open", ORANGE),
    "stage": Mark("next stage begins", "line-ns-open", GREY),
    "plateau": Mark("plateau ended the stage", "triangle-down-open", PURPLE),
    "reweighted": Mark("re-weighting (DRW) begins", "diamond-open", GREEN),
    "checkpoint": Mark("checkpoint on disk", "square-open", GREY),
    "best": Mark("best epoch", "star", BLUE),
    "failed": Mark("failed", "cross-thin-open", VERMILION),
}


def learning_curves(snapshot: Snapshot, *, top: int = TOP, others: int = OTHERS) -> pd.DataFrame:
    """Table with one row an epoch, best trial first: `trial`, `place`, `epoch`, `stage`, `score`, `val_loss`, `train_loss`.

    `place` is missing where a trial has none.

    Args:
        snapshot: the run.
        top: number of best trials.
        others: number of further trials, spread evenly over the rest.
    """
    import numpy as np

    trials = snapshot.trials[snapshot.trials["epochs"] > 0]
    rest = trials.iloc[top:]
    chosen = np.unique(np.linspace(0, len(rest) - 1, min(others, len(rest))).round().astype(int))
    shown = [*trials["trial"].iloc[:top], *rest["trial"].iloc[chosen]]
    order = {number: position for position, number in enumerate(shown)}
    curves = snapshot.curves[snapshot.curves["trial"].isin(shown)]
    curves = curves.assign(
        order=curves["trial"].map(order), place=curves["trial"].map(trials.set_index("trial")["place"])
    ).sort_values(["order", "epoch"], kind="stable")
    return curves[["trial", "place", "epoch", "stage", *QUANTITIES, "train_loss"]].reset_index(drop=True)


def curve_band(snapshot: Snapshot, quantity: str = "score") -> pd.DataFrame:
    """Quantiles in each epoch, over all trials that reached it: `epoch`, `low` (10%), `median`, `high` (90%), `trials`."""
    import pandas as pd

    groups = snapshot.curves.dropna(subset=[quantity]).groupby("epoch")[quantity]
    shares = {name: groups.quantile(share) for name, share in (("low", 0.1), ("median", 0.5), ("high", 0.9))}
    return pd.DataFrame({**shares, "trials": groups.size()}).rename_axis("epoch").reset_index()


def rungs(snapshot: Snapshot) -> pd.DataFrame:
    """Epochs at which the scheduler pruned trials, and how many: `epoch`, `pruned`. Trials that stopped for a flag or because a
    budget was used up do not count."""
    pruned = snapshot.of_status(TrialStatus.PRUNED)
    by_budget = pruned["reason"].fillna("").str.startswith("budget: ").astype(bool)
    counts = pruned.loc[pruned["stopped_for"].isna() & ~by_budget, "epochs"].value_counts().sort_index()
    return counts.rename_axis("epoch").rename("pruned").reset_index()


def marks(snapshot: Snapshot, *, top: int = TOP) -> pd.DataFrame:
    """Events in the epochs of the `top` best trials: `trial`, `epoch`, `mark` (a key of `MARKS`), `score`, `val_loss`."""
    import pandas as pd

    shown = snapshot.trials[snapshot.trials["epochs"] > 0].iloc[:top]
    rows: list[tuple[int, int, str]] = []
    for trial in records(shown):
        number = int(trial["trial"])
        epochs = snapshot.curves[snapshot.curves["trial"] == number]
        new_stage = epochs["stage_index"].diff().fillna(0) > 0
        reweighted = epochs["reweighted"].fillna(False).astype(bool)
        begins = reweighted & ~reweighted.shift(fill_value=False)
        found: dict[str, Iterable[Any]] = {
            "stage": epochs.loc[new_stage, "epoch"],
            "plateau": _plateaus(snapshot, epochs, number),
            "reweighted": epochs.loc[begins, "epoch"].iloc[:1],
            "checkpoint": _saved_checkpoints(snapshot, number),
            "best": [] if pd.isna(trial["best_epoch"]) else [trial["best_epoch"]],
            "pruned": [trial["epochs"]] if trial["status"] == TrialStatus.PRUNED.value else [],
            "failed": [trial["epochs"]] if trial["status"] == TrialStatus.FAILED.value else [],
        }
        rows += [(number, int(epoch), mark) for mark, which in found.items() for epoch in which]
    frame = pd.DataFrame(rows, columns=["trial", "epoch", "mark"])
    return frame.merge(snapshot.curves[["trial", "epoch", *QUANTITIES]], on=["trial", "epoch"])


def _plateaus(snapshot: Snapshot, epochs: pd.DataFrame, trial: int) -> pd.Series[int]:
    """Epochs that ended their stage before its number of epochs was used up."""
    limits = {index: stage.get("epochs") for index, stage in enumerate(snapshot.stages_of(trial))}
    over = epochs["stage_over"].fillna(False).astype(bool)
    return epochs.loc[over & (epochs["epoch_in_stage"] < epochs["stage_index"].map(limits)), "epoch"]


def _saved_checkpoints(snapshot: Snapshot, trial: int) -> list[int]:
    """Epochs whose checkpoints are on disk."""
    folder = snapshot.run.layout.trial(trial).checkpoints
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(found[1]) for name in names if (found := re.match(r"(\d+)_.*\.pt$", name)))


def drawn_quantities(frame: pd.DataFrame, metric: Metric) -> list[str]:
    """Members of `QUANTITIES` that some epoch has; only the score where it is the validation loss itself."""
    distinct = [quantity for quantity in QUANTITIES if quantity == "score" or metric is not Metric.VAL_LOSS]
    return [quantity for quantity in distinct if frame[quantity].notna().any()]


def draw_learning_curves(
    frame: pd.DataFrame, bands: dict[str, pd.DataFrame], marked: pd.DataFrame, judged: pd.DataFrame, metric: Metric
) -> Figure:
    """Draws the score above and the validation loss below; see `told`.

    Args:
        frame: result of `learning_curves`.
        bands: result of `curve_band` by quantity.
        marked: result of `marks`.
        judged: result of `rungs`.
        metric: the metric that is the score.
    """
    quantities = drawn_quantities(frame, metric)
    figure = new_figure(height=300 * len(quantities) + 100)
    figure.set_subplots(rows=len(quantities), cols=1, shared_xaxes=True, vertical_spacing=0.05)
    for row, quantity in enumerate(quantities, start=1):
        _draw_band(figure, bands[quantity], row)
        _draw_lines(figure, frame, quantity, row)
        _draw_marks(figure, marked, quantity, row)
        title = words(metric.value if quantity == "score" else quantity)
        figure.update_yaxes(title=title, **around_equal(frame[quantity]), row=row, col=1)
    for rung in records(judged):
        figure.add_vline(rung["epoch"], line={"dash": "dot", "width": 1, "color": ORANGE})
        figure.add_annotation(
            x=rung["epoch"], y=0, yref="paper", yanchor="bottom", xanchor="left", showarrow=False, font_size=10,
            text=f"{rung['pruned']} pruned",
        )  # fmt: skip
    figure.update_xaxes(title="epoch", row=len(quantities), col=1, **whole(frame["epoch"].max()))
    return figure


_LINES = ((BLUE, "solid"), (GREEN, "solid"), (PURPLE, "solid"), (SKY, "dash"), (ORANGE, "dash"), (VERMILION, "dot"))


def _draw_band(figure: Figure, band: pd.DataFrame, row: int) -> None:
    from plotly import graph_objects as go

    common = {"mode": "lines", "hoverinfo": "skip", "legendgroup": "band", "line": {"width": 0}}
    figure.add_trace(go.Scatter(x=band["epoch"], y=band["high"], showlegend=False, **common), row=row, col=1)
    figure.add_trace(
        go.Scatter(
            x=band["epoch"], y=band["low"], fill="tonexty", fillcolor="rgba(140,145,155,0.16)",
            name="the middle 80% of all trials", showlegend=row == 1, **common,
        ),
        row=row, col=1,
    )  # fmt: skip


def _draw_lines(figure: Figure, frame: pd.DataFrame, quantity: str, row: int) -> None:
    from plotly import graph_objects as go

    trials = list(dict.fromkeys(frame["trial"]))
    groups = dict(list(frame.groupby("trial")))
    xs: list[float | None] = []
    ys: list[float | None] = []
    for number in trials[TOP:]:  # one trace with gaps: a hundred traces would be slow
        xs += [*groups[number]["epoch"], None]
        ys += [*groups[number][quantity], None]
    others = go.Scatter(
        x=xs, y=ys, mode="lines", line={"color": FAINT, "width": 1}, hoverinfo="skip", name="other trials",
        legendgroup="others", showlegend=row == 1,
    )  # fmt: skip
    if xs:
        figure.add_trace(others, row=row, col=1)
    for number, (colour, dash) in reversed(list(zip(trials[:TOP], _LINES, strict=False))):
        curve = groups[number]
        figure.add_trace(
            go.Scatter(
                x=curve["epoch"], y=curve[quantity], mode="lines", name=f"trial {number}", legendgroup=f"{number}",
                showlegend=row == 1, legendrank=trials.index(number), customdata=curve["stage"],
                line={"color": colour, "dash": dash, "width": 3 if number == trials[0] else 1.6},
                hovertemplate=f"trial {number}, epoch %{{x}} (%{{customdata}}): %{{y:.4f}}<extra></extra>",
            ),
            row=row, col=1,
        )  # fmt: skip


def _draw_marks(figure: Figure, marked: pd.DataFrame, quantity: str, row: int) -> None:
    from plotly import graph_objects as go

    for name, mark in MARKS.items():
        rows = marked[marked["mark"] == name]
        if len(rows):
            sizes, line = {"checkpoint": 6, "best": 10}, {"width": 1.6, "color": mark.colour}
            figure.add_trace(
                go.Scatter(
                    x=rows["epoch"], y=rows[quantity], mode="markers", name=mark.words, legendgroup=name,
                    showlegend=row == 1, customdata=rows["trial"], legendrank=2000,
                    marker={"symbol": mark.symbol, "color": mark.colour, "size": sizes.get(name, 9), "line": line},
                    hovertemplate=f"trial %{{customdata}}, epoch %{{x}}: {mark.words}<extra></extra>",
                ),
                row=row, col=1,
            )  # fmt: skip
