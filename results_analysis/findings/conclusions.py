"""What a search comes to, in words. Each sentence is computed from a `Snapshot`, and left out where it would be empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from results_analysis.findings.finding import Conclusion, Evidence, Topic
from results_analysis.tables.search_ranges import value_in

if TYPE_CHECKING:
    import pandas as pd


def conclusions(evidence: Evidence) -> list[Conclusion]:
    """In the order of `Topic`."""
    from results_analysis.findings.next_steps import next_steps
    from results_analysis.findings.warning_signs import flagged  # they draw conclusions, too

    rules = (_best, _second, _defaults, _sure, _curse, _mattered, flagged, next_steps)
    found = [conclusion for rule in rules for conclusion in rule(evidence)]
    return sorted(found, key=lambda conclusion: list(Topic).index(conclusion.topic))


# --- the best -------------------------------------------------------------------------------------------------------


def _best(evidence: Evidence) -> Iterator[Conclusion]:
    snapshot = evidence.snapshot
    if not len(snapshot.trials):
        yield Conclusion(Topic.BEST, "The search has no trial yet.", "warning")
        return
    if snapshot.best is None:
        what = _counted(snapshot.trials["status"])
        yield Conclusion(Topic.BEST, f"No trial has a score: {what}. There is nothing to choose from yet.", "warning")
        return
    row = snapshot.trials.loc[snapshot.trials["trial"] == snapshot.best].iloc[0]
    of_how_many = (
        f"best of {len(evidence.competitors)} that finished" if len(snapshot.finished) else "none has finished"
    )
    text = f"Trial {snapshot.best} has the best {evidence.metric}, {evidence.say(row['score'])}"
    text += f", in epoch {row['best_epoch']} of {row['epochs']}"
    if len(snapshot.finished) > 1:
        yield Conclusion(Topic.BEST, f"{text} ({of_how_many}).", "good", f"thaw export {evidence.place}")
    elif len(snapshot.finished):
        yield Conclusion(
            Topic.BEST, f"{text}. It is the only one that finished.", command=f"thaw export {evidence.place}"
        )
    else:
        yield Conclusion(Topic.BEST, f"{text}. No trial has finished: this one is {row['status']}.", "warning")


def _second(evidence: Evidence) -> Iterator[Conclusion]:
    if len(evidence.snapshot.finished) < 2:
        return
    best, second = evidence.competitors.iloc[0], evidence.competitors.iloc[1]
    gap = evidence.gain(best["score"], second["score"])
    median = evidence.competitors["score"].median()
    text = f"It is {evidence.say(gap)} ahead of the second, trial {second['trial']} ({evidence.say(second['score'])})"
    if len(evidence.competitors) > 3:
        text += f", and {evidence.say(evidence.gain(best['score'], median))} ahead of the median of {len(evidence.competitors)}"
    yield Conclusion(Topic.BEST, f"{text}.")


NEAR = 0.1
"""Mean distance over the searched ranges up to which a trial stands for the file's own values."""


def _defaults(evidence: Evidence) -> Iterator[Conclusion]:
    """The best beside the trial that is nearest to the values that the search file itself names."""
    import numpy as np

    snapshot = evidence.snapshot
    own = {value.path: value_in(snapshot.run.config, value.path) for value in snapshot.searched}
    known = [value for value in snapshot.searched if own[value.path] is not None]
    rivals = snapshot.finished
    if not known or len(rivals) < 2:
        return
    distances = []
    for value in known:
        low, high = value.ends
        share = (value.position(own[value.path]) - low) / (high - low)
        apart = np.abs(value.shares(rivals[value.path]) - share)
        distances.append((apart > 0).astype(float) if value.scale == "choice" else apart)
    mean = np.nan_to_num(np.mean(distances, axis=0), nan=np.inf)
    nearest = rivals.iloc[int(mean.argmin())]
    gap = evidence.gain(rivals.iloc[0]["score"], nearest["score"])
    if mean.min() <= NEAR:
        if gap == 0:
            yield Conclusion(Topic.BEST, "The best trial is the one with the search file's own values.")
            return
        which = "used" if mean.min() < 1e-9 else "came near"
        text = (
            f"Trial {nearest['trial']} {which} the search file's own values and scored {evidence.say(nearest['score'])}"
        )
        yield Conclusion(Topic.BEST, f"{text}: searching gained {evidence.say(gap)}.")
    else:
        text = "No finished trial came near the search file's own values: what searching gained over them is not known."
        if gap:
            text += (
                f" The nearest, trial {nearest['trial']}, is {mean.min():.0%} of a searched range away on average and scored "
                f"{evidence.say(nearest['score'])}."
            )
        yield Conclusion(Topic.BEST, text)


# --- how sure -------------------------------------------------------------------------------------------------------


def _sure(evidence: Evidence) -> Iterator[Conclusion]:
    spread = evidence.spread
    if evidence.snapshot.best is None or len(evidence.snapshot.class_names) == 1:
        return
    if spread is None:
        text = (
            f"How far other images would move {evidence.metric} is not known: the run does not record what that takes."
        )
        yield Conclusion(Topic.SURE, text)
        return
    text = (
        f"Judged by other images, trial {evidence.snapshot.best} would score between {evidence.say(spread.low)} and "
        f"{evidence.say(spread.high)} (95%, {spread.how}). Another seed of the training would move it further."
    )
    yield Conclusion(Topic.SURE, text)


def _curse(evidence: Evidence) -> Iterator[Conclusion]:
    if (standing := evidence.standing) is None:
        return
    first, gap = evidence.competitors.iloc[0], evidence.gain(*evidence.competitors["score"].iloc[:2])
    if standing.wins >= 0.95:
        text = (
            f"The gap to the second is beyond what other images would change: trial {first['trial']} would come first in "
            f"{standing.wins:.0%} of draws."
        )
        yield Conclusion(Topic.SURE, text, "good")
        return
    assert evidence.spread is not None
    text = (
        f"Do not trust the order at the top: the gap of {evidence.say(gap)} is {gap / evidence.spread.error:.1f} standard errors, "
        f"and trial {first['trial']} would come first again in {standing.wins:.0%} of draws of the images"
    )
    rivals = f"; {standing.rivals} trials are in the running" if standing.rivals > 1 else ""
    text += (
        f"{rivals}. The best of {len(evidence.competitors)} noisy scores also looks better than it is, by about "
        f"{evidence.say(standing.optimism)} here."
    )
    top = min(max(standing.rivals, 2), 5)
    yield Conclusion(Topic.SURE, text, "warning", f"thaw confirm {evidence.place} --top {top} --seeds 5")


# --- what mattered --------------------------------------------------------------------------------------------------


def _mattered(evidence: Evidence) -> Iterator[Conclusion]:
    frame = evidence.importances
    if not len(evidence.snapshot.searched):
        yield Conclusion(Topic.MATTERED, "Nothing was searched: all trials share one recipe.")
        return
    if not len(frame):
        text = f"Too few trials with a score ({len(evidence.snapshot.placed)}) to tell which searched values mattered."
        yield Conclusion(Topic.MATTERED, text)
        return
    ranked = frame[frame["evaluator"] == frame["evaluator"].iloc[0]]
    out = ranked[ranked["importance"] > ranked["chance"]]
    if not len(out):
        first = ranked.iloc[0]
        text = (
            f"No searched value stands out from chance yet. {first['name']} leads with {_share(first)} of the importance; dealing "
            f"the scores to the trials at random gives up to {first['chance']:.0%}."
        )
        yield Conclusion(Topic.MATTERED, text)
        return
    told = ", ".join(f"{row['name']} ({_share(row)})" for _, row in out.head(4).iterrows())
    yield Conclusion(Topic.MATTERED, f"What good trials have in common lies in {told}: more than chance gives.", "good")
    best = evidence.snapshot.trials[evidence.snapshot.trials["trial"] == evidence.snapshot.best]
    for path in out["path"].head(3) if len(best) else ():
        if where := _where_good(evidence, path):
            yield Conclusion(Topic.MATTERED, where)


def _share(row: pd.Series[float]) -> str:
    return f"{row['importance']:.0%}, {row['low']:.0%} … {row['high']:.0%}"


def _where_good(evidence: Evidence, path: str) -> str | None:
    """Where the best tenth (at least five) have a value, and all others have it."""
    value = next(value for value in evidence.snapshot.searched if value.path == path)
    placed = evidence.snapshot.placed.dropna(subset=[path])
    top = placed.head(max(5, len(placed) // 10))
    if len(placed) < 2 * len(top):
        return None
    if value.scale == "choice":
        commonest = top[path].mode().iloc[0]
        share, before = ((rows[path] == commonest).mean() for rows in (top, placed))
        return f"{value.name}: {value.say(commonest)} in {share:.0%} of the best {len(top)} trials, in {before:.0%} of all."
    low, high = (value.say(top[path].astype(float).quantile(q)) for q in (0.25, 0.75))
    spans = [value.say(placed[path].astype(float).quantile(q)) for q in (0.25, 0.75)]
    return f"{value.name}: mostly {low} … {high} in the best {len(top)} trials; {spans[0]} … {spans[1]} in all."


def _counted(statuses: pd.Series[str]) -> str:
    """`3 failed, 1 running`"""
    return ", ".join(f"{count} {status}" for status, count in statuses.value_counts().items())
