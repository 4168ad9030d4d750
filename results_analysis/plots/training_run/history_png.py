"""`history.png`: losses, score and learning rates of a run by epoch, with its stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results_analysis.plots.png import new_png_figure, write_png
from results_analysis.plots.style import BLUE, GREEN, ORANGE, PURPLE, short_label, words
from results_analysis.plots.training_run.history import History, history, is_log
from trainables.core.vocabulary import Metric
from trainables.run_folder.trial_columns import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = {
    "train_loss": "training",
    "val_loss": "validation",
    "train_accuracy": "accuracy, training",
    "accuracy": "accuracy, validation",
    "head_lr": "head",
    "backbone_lr": "backbone",
}
STYLES = {
    "train_loss": (ORANGE, "--"), "val_loss": (BLUE, "-"), "score": (BLUE, "-"),
    "train_accuracy": (ORANGE, "--"), "accuracy": (GREEN, "-."), "head_lr": (PURPLE, "-"), "backbone_lr": (GREEN, "--"),
}  # fmt: skip
"""Colour and dash of each curve."""


def write_history(reports: Sequence[Report], metric: Metric, file: Path) -> None:
    """Draws the history of a run into a PNG file.

    Args:
        reports: its epoch reports, oldest first; at least one.
        metric: the metric that is its score.
        file: file to write.
    """
    drawn = history(reports)
    panels = [panel for panel in (_loss, _score, _rates) if panel is not _score or metric is not Metric.VAL_LOSS]
    figure = new_png_figure(9, 1.2 + 2.1 * len(panels) + (0 if _level(drawn) else 1.2))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, panel in zip(axes, panels, strict=True):
        panel(axis, drawn, metric)
        _boundaries(axis, drawn)
        axis.grid(alpha=0.3, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        else:
            axis.set_yticks([])
            axis.text(0.5, 0.5, "no finite value", transform=axis.transAxes, ha="center", va="center", color="#666")
    _stage_names(axes[0], drawn)
    last = axes[-1]
    last.set_xlabel("epoch")
    last.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    last.set_xlim(drawn.epochs[0] - 0.5, drawn.epochs[-1] + 0.5)
    figure.align_ylabels(list(axes))
    write_png(figure, file)


Panel = Callable[["Axes", History, Metric], None]


def _loss(axis: Axes, drawn: History, metric: Metric) -> None:
    axis.set_ylabel("loss")
    _lines(axis, drawn, "train_loss", "val_loss")
    if metric is Metric.VAL_LOSS:
        _best(axis, drawn, "val_loss")


def _score(axis: Axes, drawn: History, metric: Metric) -> None:
    # The fallback metric may stand in for some epochs; accuracy is drawn beside training accuracy, whose partner it is.
    beside = drawn.has("train_accuracy", "accuracy") if "train_accuracy" in drawn.curves else []
    names = [name for name in beside if name != metric.value]
    axis.set_ylabel("score")
    _lines(axis, drawn, "score", *names, labels={"score": words(metric.value)})
    _best(axis, drawn, "score")


def _rates(axis: Axes, drawn: History, _: Metric) -> None:
    axis.set_ylabel("learning rate")
    _lines(axis, drawn, "head_lr", "backbone_lr")
    rates = [drawn.curves[name] for name in drawn.has("head_lr", "backbone_lr")]
    if is_log(rates, spread=1):
        _log(axis)


def _lines(axis: Axes, drawn: History, *names: str, labels: dict[str, str] | None = None) -> None:
    shown = drawn.has(*names)
    # Marks make single epochs visible, such as the only one of a run or one between two without a number.
    marks: dict[str, Any] = {"marker": "o", "markersize": 3.5 if len(drawn.epochs) <= 60 else 1.5}
    for name in shown:
        colour, dash = STYLES[name]
        label = (labels or {}).get(name, LABELS.get(name, name))
        axis.plot(drawn.epochs, drawn.curves[name], dash, color=colour, linewidth=1.6, label=label, **marks)
    if is_log(drawn.curves[name] for name in shown):
        _log(axis)


def _log(axis: Axes) -> None:
    """Logarithmic axis with plain numbers at 1, 2 and 5 of each decade, or at 1 where there are many decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def _best(axis: Axes, drawn: History, name: str) -> None:
    if drawn.best_epoch in drawn.epochs and name in drawn.curves:
        value = drawn.curves[name][drawn.epochs.index(drawn.best_epoch)]
        label = f"best: {value:.4f} in epoch {drawn.best_epoch}"
        axis.plot([drawn.best_epoch], [value], "*", color=BLUE, markersize=13, markeredgecolor="white", label=label)


def _boundaries(axis: Axes, drawn: History) -> None:
    for span in drawn.stages[1:]:
        axis.axvline(span.first - 0.5, color="#888", linewidth=0.9, linestyle=":")


def _level(drawn: History) -> bool:
    """True where each stage's name fits above its epochs."""
    total = len(drawn.epochs)
    return all(len(span.name) <= 90 * (span.last - span.first + 1) / total for span in drawn.stages)


def _stage_names(axis: Axes, drawn: History) -> None:
    """Names of the stages above their epochs; aslant where they would overlap."""
    place: dict[str, Any] = {"ha": "center"} if _level(drawn) else {"ha": "left", "rotation": 60}
    for span in drawn.stages:
        axis.annotate(
            short_label(span.name, 90 if _level(drawn) else 22), ((span.first + span.last) / 2, 1), xytext=(0, 3),
            xycoords=("data", "axes fraction"), textcoords="offset points", va="bottom", fontsize=8.5, color="#444", **place,
        )  # fmt: skip
