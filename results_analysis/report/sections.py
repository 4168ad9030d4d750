"""The pictures of a report: what is drawn, what is said below it, and the same numbers as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results_analysis.plots import (
    classes,
    compute_savings,
    contours,
    cost,
    importance,
    learning_curves,
    parallel_coordinates,
    score_over_trials,
    slices,
    stage_timeline,
)
from results_analysis.plots.style import words
from results_analysis.report.number_format import duration
from results_analysis.statistics.importance import TITLES
from results_analysis.tables.run_snapshot import Snapshot, records
from results_analysis.tables.search_ranges import Searched

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of the page."""

    name: str
    """Of its place on the page."""
    title: str
    caption: str
    """What it shows, and how it is read."""
    panels: Sequence[Figure]
    table: pd.DataFrame
    """The numbers it is drawn from."""
    headings: Sequence[str] = ()
    """Of the panels, where they need one."""
    least_px: int = 0
    """Width below which a panel scrolls by itself."""
    beside: bool = False
    """Whether panels stand beside each other where there is room."""


@dataclass(frozen=True, eq=False)
class Section:
    name: str
    title: str
    pictures: Sequence[Picture]
    missing: str = ""
    """Why there is no picture, where there is none."""


def sections(snapshot: Snapshot, importance: pd.DataFrame) -> list[Section]:
    """All but the conclusions and the table of trials.

    Args:
        importance: of `importance.importances`.
    """
    nothing = "No epoch has been recorded yet."
    some = len(snapshot.curves) > 0
    scored = snapshot.trials["score"].notna().any()
    searched = _most_important_first(snapshot, importance)
    return [
        Section("scores", "Scores", list(_scores(snapshot)) if scored else [], "No trial has a score."),
        Section("training", "Training", list(_training(snapshot)) if some else [], nothing),
        Section("values", "Searched values", list(_values(snapshot, importance, searched)), _why_no_values(snapshot)),
        Section("best", "The best trial", list(_best(snapshot)), _why_no_classes(snapshot)),
        Section("compute", "Compute", list(_compute(snapshot)) if some else [], nothing),
    ]


# --- scores and training --------------------------------------------------------------------------------------------


def _scores(snapshot: Snapshot) -> Iterator[Picture]:
    frame, metric = score_over_trials.score_over_trials(snapshot), snapshot.metric
    yield Picture(
        "score",
        "Score over trials",
        f"Each mark is a trial: its best {words(metric.value)} over its epochs. The line is the best so far among trials that "
        "finished; where it is flat, further trials found nothing better.",
        [score_over_trials.draw_score_over_trials(frame, metric)],
        frame,
    )
    paid = cost.cost_and_score(snapshot)
    if len(paid):
        yield Picture(
            "cost",
            "Cost against score",
            "Time of training and validation of each trial against its score. On the dotted line lie the "
            "trials that no other one "
            "beats for less: where it rises steeply, time is well spent.",
            [cost.draw_cost_and_score(paid, metric)],
            paid[paid["front"]].drop(columns="front"),
        )


def _training(snapshot: Snapshot) -> Iterator[Picture]:
    frame, judged = learning_curves.learning_curves(snapshot), learning_curves.rungs(snapshot)
    bands = {quantity: learning_curves.curve_band(snapshot, quantity) for quantity in learning_curves.QUANTITIES}
    shown = min(learning_curves.TOP, frame["trial"].nunique())
    at_rungs = "Dotted verticals are epochs at which the scheduler ended trials. " if len(judged) else ""
    if learning_curves.told(frame, snapshot.metric):
        yield Picture(
            "curves",
            "Learning curves",
            f"The best {shown} trials in colour, others thin; the band holds the middle 80% of all trials "
            f"that came so far. {at_rungs}"
            "Marks tell what happened in the coloured ones.",
            [
                learning_curves.draw_learning_curves(
                    frame, bands, learning_curves.marks(snapshot), judged, snapshot.metric
                )
            ],
            bands["score"],
        )
    stretches = stage_timeline.stage_timeline(snapshot)
    yield Picture(
        "timeline",
        "What was unfrozen when",
        f"Stages of the best {stretches['trial'].nunique()} trials, best on top. The number at the end "
        "of a stretch is the validation "
        "loss it ended with; hatched: the head was at rest.",
        [stage_timeline.draw_stage_timeline(stretches)],
        stretches,
    )


# --- searched values ------------------------------------------------------------------------------------------------


def _most_important_first(snapshot: Snapshot, importance: pd.DataFrame) -> list[Searched]:
    order = list(dict.fromkeys(importance["path"]))
    return sorted(snapshot.searched, key=lambda v: order.index(v.path) if v.path in order else len(order))


def _why_no_values(snapshot: Snapshot) -> str:
    return "No trial has a score." if snapshot.searched else "Nothing was searched: all trials share one recipe."


def _values(snapshot: Snapshot, importance: pd.DataFrame, searched: Sequence[Searched]) -> Iterator[Picture]:
    frame = slices.slices(snapshot)
    if not len(frame) or not searched:
        return
    if len(importance):
        yield _importance(importance)
    shown = searched[: slices.SHOWN]
    left = f" The {len(shown)} that mattered most, of {len(searched)}." if len(searched) > len(shown) else ""
    yield Picture(
        "slices",
        "Score against each searched value",
        f"Each mark is a trial, its {words(snapshot.metric.value)} upwards. A slope or a hump is an "
        f"effect; a cloud is none, or one that others hide.{left}",
        [slices.draw_slice(frame, value) for value in shown],
        frame.rename(columns={value.path: value.name for value in searched}),
        beside=True,
    )
    if len(searched) > 1:
        lines = parallel_coordinates.parallel_coordinates(snapshot)
        yield Picture(
            "parallel",
            "Searched values together",
            "Each line is a trial, from its value on one axis to that on the next; ends of the axes are the "
            "ends of the searched ranges. "
            "Where the blue lines bundle, the best trials agree.",
            [parallel_coordinates.draw_parallel_coordinates(lines, shown)],
            lines.rename(columns={value.path: value.name for value in searched}),
            least_px=104 * len(shown),
        )
    yield from _contours(snapshot, searched)


def _importance(shares: pd.DataFrame) -> Picture:
    found = list(dict.fromkeys(shares["evaluator"]))
    return Picture(
        "importance",
        "What mattered",
        "The share of each searched value in what made trials better or worse. "
        f"Bars are medians over bootstraps of {shares['trials'].max()} trials, whiskers their middle "
        "80%. What does not pass the red "
        "mark is no more than chance gives where scores are dealt to trials at random, and is grey. "
        "Trials count by their place: the "
        "farther they came the better, then by score.",
        [importance.draw_importance(shares[shares["evaluator"] == name]) for name in found],
        shares.drop(columns="path"),
        headings=[TITLES[name] for name in found],
        beside=True,
    )


def _contours(snapshot: Snapshot, searched: Sequence[Searched]) -> Iterator[Picture]:
    import pandas as pd

    shown = [
        pair for pair in contours.pairs(searched) if len(snapshot.placed.dropna(subset=[v.path for v in pair])) >= 6
    ]
    if not shown:
        return
    frames = [contours.contour(snapshot, *pair) for pair in shown]
    named = [
        frame.assign(pair=f"{across.name} × {up.name}").dropna(subset=["score"])
        for frame, (across, up) in zip(frames, shown, strict=True)
    ]
    yield Picture(
        "contours",
        "Pairs of searched values",
        "The score, smoothed over the trials near each point, for the ranges that mattered most; dots "
        "are trials. Where no trial is near, "
        "nothing is claimed.",
        [
            contours.draw_contour(frame, *pair, snapshot.placed, snapshot.metric)
            for frame, pair in zip(frames, shown, strict=True)
        ],
        pd.concat(named).sort_values("score", ascending=snapshot.metric.mode == "min"),
        beside=True,
    )


# --- the best trial and compute -------------------------------------------------------------------------------------


def _why_no_classes(snapshot: Snapshot) -> str:
    if snapshot.best is None:
        return "No trial has a score."
    return (
        "A regression has no classes." if snapshot.task == "regression" else "Its best epoch tells nothing of classes."
    )


def _best(snapshot: Snapshot) -> Iterator[Picture]:
    recall, confusion = classes.class_recall(snapshot), classes.confusion(snapshot)
    if len(recall):
        worst = f" The {classes.SHOWN} worst of {len(recall)} classes." if len(recall) > classes.SHOWN else ""
        yield Picture(
            "recall",
            "Recall of each class",
            f"Share of each class's validation images that trial {snapshot.best} recognised in its best "
            "epoch, with the 95% interval that "
            f"their number allows (Wilson).{worst}",
            [classes.draw_class_recall(recall)],
            recall,
        )
    if len(confusion):
        yield Picture(
            "confusion",
            "Confusion",
            "Rows are true classes, columns what was predicted; numbers are images, colours shares of the "
            "row. Off the diagonal lies what "
            "is taken for what.",
            [classes.draw_confusion(confusion)],
            confusion.rename_axis("true \\ predicted").reset_index(),
            least_px=min(90 + 34 * len(confusion), 700) if len(confusion) <= 20 else 0,
        )


def _compute(snapshot: Snapshot) -> Iterator[Picture]:
    frame = compute_savings.savings(snapshot)
    saved = frame[(frame["kind"] == "saved") & (frame["seconds"] > 0)]
    told = " and ".join(f"{row['what']} about {duration(row['seconds'])}" for row in records(saved))
    unknown = " ".join(f"{row['what'].capitalize()}: {row['how']}." for row in records(frame[frame["seconds"].isna()]))
    yield Picture(
        "savings",
        "What pruning and kept features saved",
        f"Compute of all trials, {duration(frame.loc[frame['kind'] == 'spent', 'seconds'].sum())} in all. "
        + (f"Saved: {told}; estimates, see the numbers for how. " if told else "")
        + unknown,
        [compute_savings.draw_savings(frame)],
        frame,
    )
