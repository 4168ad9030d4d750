"""Sections of the page of a single training run: history and stages, classes or numbers, worst errors, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from results_analysis.findings.finding import format_score
from results_analysis.plots.classes import class_recall
from results_analysis.plots.training_run.confusion_png import frequent_mistakes
from results_analysis.plots.training_run.history import history
from results_analysis.plots.training_run.history_figure import draw_history, history_table, rows_of
from results_analysis.plots.training_run.predicted_numbers import draw_predicted_numbers, predicted_numbers
from results_analysis.report.checkpoints.history import timeline
from results_analysis.report.class_pictures import class_pictures
from results_analysis.report.page import Card, Gallery, Picture, Section, Table, Thumbnail, Thumbnails
from results_analysis.tables.training_run.snapshot import TrainingSnapshot
from results_analysis.tables.training_run.stages import stage_table
from results_analysis.tables.training_run.worst_errors import WorstError, errors, worst_errors
from trainables.core.config_errors import counted
from trainables.core.printable import printable

if TYPE_CHECKING:
    import pandas as pd


def sections(snapshot: TrainingSnapshot, thumbnails: Thumbnails | None) -> list[Section]:
    """All sections except the conclusions.

    Args:
        snapshot: the run.
        thumbnails: gives the pictures of the worst errors; None: they are named only.
    """
    some = bool(snapshot.reports)
    nothing = "No epoch has finished yet."
    of_numbers = snapshot.task == "regression"
    found = [
        Section(
            "training",
            "Training",
            list(_history(snapshot)) if some else [],
            nothing,
            tables=[_stages(snapshot)] if some else [],
        ),
        Section("numbers", "Predicted numbers", list(_numbers(snapshot)), _why_no_predictions(snapshot))
        if of_numbers
        else Section(
            "classes",
            "Classes",
            list(class_pictures(snapshot.best, snapshot.class_names, "the network")),
            "No epoch has results by class.",
            tables=list(_classes(snapshot)),
        ),
        Section(
            "errors",
            "Worst errors",
            [],
            _why_no_predictions(snapshot),
            galleries=list(_gallery(snapshot, thumbnails)),
        ),
    ]
    if snapshot.checkpoints:
        found.append(Section("checkpoints", "Checkpoints", [], tables=[_checkpoints(snapshot)]))
    return found


# --- training -------------------------------------------------------------------------------------------------------


def _history(snapshot: TrainingSnapshot) -> Iterator[Picture]:
    drawn = history(snapshot.reports)
    if not rows_of(drawn, snapshot.metric):
        return
    shown = ", the norm of the gradient before clipping" if "grad_norm" in drawn.curves else ""
    yield Picture(
        "history",
        "History",
        f"Losses, score, learning rates of head and backbone{shown}, by epoch. Dotted lines are borders of stages. A frozen part "
        "has no learning rate; gaps are epochs without a finite value.",
        [draw_history(drawn, snapshot.metric)],
        history_table(drawn),
    )


def _stages(snapshot: TrainingSnapshot) -> Table:
    frame = stage_table(snapshot)
    return Table(
        "stages",
        "Stages",
        "What each stage opened, the best score in it, and why it ended.",
        frame if frame["opened"].any() else frame.drop(columns="opened"),
    )


# --- classes and numbers --------------------------------------------------------------------------------------------


def _classes(snapshot: TrainingSnapshot) -> Iterator[Table]:
    frame = class_recall(snapshot.best, snapshot.class_names)
    if len(frame):
        mistakes = frequent_mistakes(snapshot.best["confusion"], snapshot.class_names, most=len(frame) ** 2)
        first: dict[str, str] = {}
        for mistake in mistakes:
            first.setdefault(mistake.true, f"{mistake.predicted} ({mistake.images:,})")
        shown = frame.assign(mistaken=frame["class"].map(lambda name: first.get(name, "")))
        columns = {"low": "recall from", "high": "to", "mistaken": "most often taken for"}
        yield Table(
            "by-class",
            "All classes",
            "Validation images, recall with its 95% interval, precision and F1 of each class in the best epoch.",
            shown.rename(columns=columns),
        )


def _numbers(snapshot: TrainingSnapshot) -> Iterator[Picture]:
    if snapshot.predictions is None:
        return
    frame = predicted_numbers(snapshot.predictions)
    yield Picture(
        "predicted",
        "Predicted against true numbers",
        "Each point is a validation image. On the dotted line the prediction is exact.",
        [draw_predicted_numbers(frame)],
        frame,
    )


# --- worst errors ---------------------------------------------------------------------------------------------------


def _why_no_predictions(snapshot: TrainingSnapshot) -> str:
    if snapshot.damage:
        return f"{snapshot.damage}."
    if snapshot.predictions is not None:
        return "Every validation image is predicted correctly."
    if not snapshot.is_over:
        return "Predictions are written when the run ends."
    return "The run left no predictions for single images: it is of an older version, or a trial of a search."


def _gallery(snapshot: TrainingSnapshot, thumbnails: Thumbnails | None) -> Iterator[Gallery]:
    worst, wrong = worst_errors(snapshot), errors(snapshot)
    if not worst or wrong is None or snapshot.predictions is None:
        return
    pictures = {} if thumbnails is None else thumbnails([error.image for error in worst])
    numbers = snapshot.task == "regression"
    total = len(snapshot.predictions)
    if numbers:
        caption = f"The largest errors among {counted(total, 'validation image')}."
    else:
        caption = (
            f"The network is wrong on {len(wrong):,} of {counted(total, 'validation image')}. These are its most confident "
            "mistakes: look for wrong labels, and for what the images have in common."
        )
    folder = _common_folder(snapshot.predictions["image"])
    cards = [_card(error, pictures, folder=folder, numbers=numbers) for error in worst]
    yield Gallery("worst", "Worst errors", caption, cards)


def _common_folder(images: Iterable[object]) -> str:
    """Folder that all files of a run are below, with its slash; empty where there is none."""
    folders = (image.split("/")[:-1] for image in images if isinstance(image, str))
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))
    return "".join(f"{level[0]}/" for level in shared)


def _card(error: WorstError, pictures: Mapping[str | int, Thumbnail], *, folder: str, numbers: bool) -> Card:
    picture = pictures.get(error.image, Thumbnail(None, "not shown"))
    size = (
        f"off by {error.size:.4g}" if numbers else f"confidence {error.size:.1%}" if not math.isnan(error.size) else ""
    )
    name = error.image.removeprefix(folder) if isinstance(error.image, str) else f"image {error.image}"
    group = f"group {error.group}" if error.group is not None else ""
    lines = [f"predicted {error.prediction}", size, printable(name), group]
    return Card(f"true {error.truth}", [line for line in lines if line], picture)


# --- checkpoints ----------------------------------------------------------------------------------------------------


def _checkpoints(snapshot: TrainingSnapshot) -> Table:
    points = timeline(snapshot.checkpoints, snapshot.kept)
    on_disk = [point for point in points if point.kept]
    return Table(
        "files",
        "On disk",
        f"{len(on_disk)} of {counted(len(points), 'checkpoint')}, {sum(p.size_mb for p in on_disk):.1f} MB"
        + ("; the others were rotated out." if len(on_disk) < len(points) else "."),
        _frame_of(on_disk),
    )


def _frame_of(points: Sequence[Any]) -> pd.DataFrame:
    import pandas as pd

    columns = ["epoch", "stage", "score", "mark", "MB"]
    rows = [(p.epoch, p.stage, "" if math.isnan(p.score) else format_score(p.score), p.mark, p.size_mb) for p in points]
    return pd.DataFrame(rows, columns=columns)
