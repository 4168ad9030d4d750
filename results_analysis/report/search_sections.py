"""Sections of the page of a search: figures, each with its title, caption and the numbers as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from results_analysis.plots import (
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
from results_analysis.report.class_pictures import class_pictures
from results_analysis.report.number_format import duration
from results_analysis.report.page import Picture, Section
from results_analysis.statistics.importance import TITLES
from results_analysis.tables.run_snapshot import Snapshot, records
from results_analysis.tables.search_ranges import Searched

if TYPE_CHECKING:
    import pandas as pd


def sections(snapshot: Snapshot, importance: pd.DataFrame) -> list[Section]:
    """All sections except the conclusions and the table of trials.

    Args:
        snapshot: the run.
        importance: result of `importance.importances`.
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


_LINE = " The line is the best score so far among {}; where it is flat, further trials found nothing better."


def _scores(snapshot: Snapshot) -> Iterator[Picture]:
    frame, metric = score_over_trials.score_over_trials(snapshot), snapshot.metric
    yield Picture(
        "score",
        "Score over trials",
        f"Each mark is a trial, at the best {words(metric.value)} of its epochs."
        + (_LINE.format("finished trials" if len(snapshot.finished) else "these") if len(snapshot.placed) else ""),
        [score_over_trials.draw_score_over_trials(frame, metric)],
        frame,
    )
    paid = cost.cost_and_score(snapshot)
    if len(paid):
        yield Picture(
            "cost",
            "Cost against score",
            "Training and validation time of each trial, and its score. The dotted line (the Pareto front) connects the "
            "trials that no other trial beats at lower cost; where it is steep, more time pays off.",
            [cost.draw_cost_and_score(paid, metric)],
            paid[paid["front"]].drop(columns="front"),
        )
    for name in snapshot.further_objectives:
        reached = cost.cost_and_score(snapshot, name)
        if len(reached):
            yield Picture(
                f"objective-{name}",
                f"Score against {words(name)}",
                "The other value is an objective of this search, too. The dotted line (the Pareto front) connects the trials that "
                "no other trial beats in both.",
                [cost.draw_cost_and_score(reached, metric, name)],
                reached[reached["front"]].drop(columns="front"),
            )


def _training(snapshot: Snapshot) -> Iterator[Picture]:
    frame, pruned_at = learning_curves.learning_curves(snapshot), learning_curves.rungs(snapshot)
    bands = {quantity: learning_curves.curve_band(snapshot, quantity) for quantity in learning_curves.QUANTITIES}
    shown = min(learning_curves.TOP, frame["trial"].nunique())
    which = "best" if len(snapshot.placed) else "first"
    at_rungs = "Dotted vertical lines are epochs at which trials were pruned. " if len(pruned_at) else ""
    if learning_curves.drawn_quantities(frame, snapshot.metric):
        yield Picture(
            "curves",
            "Learning curves",
            f"The {which} {shown} trials in colour, others as thin lines. The band covers the middle 80% of all trials that "
            f"reached the epoch. {at_rungs}Marks show events in the coloured trials.",
            [
                learning_curves.draw_learning_curves(
                    frame, bands, learning_curves.marks(snapshot), pruned_at, snapshot.metric
                )
            ],
            bands["score"],
        )
    stretches = stage_timeline.stage_timeline(snapshot)
    yield Picture(
        "timeline",
        "What was unfrozen when",
        f"Stages of the {which} {stretches['trial'].nunique()} trials, the {which} on top. The number in a bar is the "
        "validation loss at its end. Hatched: the head was frozen.",
        [stage_timeline.draw_stage_timeline(stretches)],
        stretches,
    )


# --- searched values ------------------------------------------------------------------------------------------------


def _most_important_first(snapshot: Snapshot, importance: pd.DataFrame) -> list[Searched]:
    order = list(dict.fromkeys(importance["path"]))
    return sorted(snapshot.searched, key=lambda v: order.index(v.path) if v.path in order else len(order))


def _why_no_values(snapshot: Snapshot) -> str:
    return "No trial has a score." if snapshot.searched else "Nothing was searched: all trials use the same recipe."


def _values(snapshot: Snapshot, importance: pd.DataFrame, searched: Sequence[Searched]) -> Iterator[Picture]:
    frame = slices.slices(snapshot)
    if not len(frame) or not searched:
        return
    if len(importance):
        yield _importance(importance)
    shown = searched[: slices.SHOWN]
    left = (
        f" These are the {len(shown)} most important of {len(searched)} searched values."
        if len(searched) > len(shown)
        else ""
    )
    yield Picture(
        "slices",
        "Score against each searched value",
        f"Each mark is a trial, with its {words(snapshot.metric.value)} on the vertical axis. A slope or a hump shows an "
        f"effect; a shapeless cloud shows none, or one hidden by the other values.{left}",
        [slices.draw_slice(frame, value) for value in shown],
        frame.rename(columns={value.path: value.name for value in searched}),
        side_by_side=True,
    )
    if len(searched) > 1:
        lines = parallel_coordinates.parallel_coordinates(snapshot)
        yield Picture(
            "parallel",
            "Searched values together",
            "Each line is a trial and crosses every axis at its value; an axis spans the searched range. Where the blue "
            "lines run together, the best trials agree.",
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
        "How much each searched value contributed to trials being better or worse. "
        f"Bars are medians over bootstrap samples of {shares['trials'].max()} trials, whiskers their middle 80%. A "
        "value is grey where it stays below the red mark: chance alone gives that much when the trials' ranks are "
        "shuffled. Finished trials rank first, by score; then the others, by the number of their epochs.",
        [importance.draw_importance(shares[shares["evaluator"] == name]) for name in found],
        shares.drop(columns="path"),
        headings=[TITLES[name] for name in found],
        side_by_side=True,
    )


def _contours(snapshot: Snapshot, searched: Sequence[Searched]) -> Iterator[Picture]:
    import pandas as pd

    shown = [
        pair for pair in contours.pairs(searched) if len(snapshot.placed.dropna(subset=[v.path for v in pair])) >= 6
    ]
    if not shown:
        return
    frames = [contours.contour(snapshot, *pair) for pair in shown]
    by_pair = [
        frame.assign(pair=f"{across.name} × {up.name}").dropna(subset=["score"])
        for frame, (across, up) in zip(frames, shown, strict=True)
    ]
    yield Picture(
        "contours",
        "Pairs of searched values",
        "The score over pairs of the most important ranges, smoothed over nearby trials; dots are trials. Areas without a "
        "trial nearby are blank.",
        [
            contours.draw_contour(frame, *pair, snapshot.placed, snapshot.metric)
            for frame, pair in zip(frames, shown, strict=True)
        ],
        pd.concat(by_pair).sort_values("score", ascending=snapshot.metric.mode == "min"),
        side_by_side=True,
    )


# --- the best trial and compute -------------------------------------------------------------------------------------


def _why_no_classes(snapshot: Snapshot) -> str:
    if snapshot.best is None:
        return "No trial has a score."
    return (
        "A regression has no classes." if snapshot.task == "regression" else "Its best epoch has no results by class."
    )


def _best(snapshot: Snapshot) -> Iterator[Picture]:
    return class_pictures(snapshot.best_report, snapshot.class_names, f"trial {snapshot.best}")


def _compute(snapshot: Snapshot) -> Iterator[Picture]:
    frame = compute_savings.savings(snapshot)
    saved = frame[(frame["kind"] == "saved") & (frame["seconds"] > 0)]
    amounts = " and ".join(f"about {duration(row['seconds'])} by {row['what']}" for row in records(saved))
    unknown = " ".join(f"Savings by {row['what']} are {row['how']}." for row in records(frame[frame["seconds"].isna()]))
    yield Picture(
        "savings",
        "Time saved by pruning and cached features",
        f"All trials together took {duration(frame.loc[frame['kind'] == 'spent', 'seconds'].sum())}. "
        + (f"Saved {amounts}; these are estimates, explained in the table of numbers. " if amounts else "")
        + unknown,
        [compute_savings.draw_savings(frame)],
        frame,
    )
