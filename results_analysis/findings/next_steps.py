"""What to try next: where a search's own trials point. Each rule says nothing where they point nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from results_analysis.findings.finding import Conclusion, Evidence, Topic
from results_analysis.plots.learning_curves import rungs
from results_analysis.tables.search_ranges import Searched
from trainables.core.vocabulary import TrialStatus

if TYPE_CHECKING:
    import pandas as pd

EDGE = 0.05
"""Share of a searched range that counts as its edge."""
FEW = 5
"""Trials with a score for each searched value below which a search is a beginning."""
LATE = 0.15
"""Share of the trials among whose last ones a best one has come late."""


def next_steps(evidence: Evidence) -> Iterator[Conclusion]:
    if not len(evidence.snapshot.trials):
        return
    rules = (_all_failed, _unfinished, _edges, _few, _late, _still_rising, _fixed, _rungs, _styles)
    for text in (text for rule in rules for text in rule(evidence)):
        yield Conclusion(Topic.NEXT, text[0], command=text[1])


Steps = Iterator[tuple[str, str | None]]
"""Words, and a command where there is one."""


def _all_failed(evidence: Evidence) -> Steps:
    snapshot = evidence.snapshot
    failed = snapshot.of_status(TrialStatus.FAILED)
    if len(failed) and len(failed) + len(snapshot.of_status(TrialStatus.RUNNING)) == len(snapshot.trials):
        file = snapshot.run.layout.trial(int(failed["trial"].min())).error
        yield (
            f"No trial has come through: mend what the first one failed of before going on. Its traceback is in {file}.",
            None,
        )


def _unfinished(evidence: Evidence) -> Steps:
    snapshot = evidence.snapshot
    running, planned = len(snapshot.of_status(TrialStatus.RUNNING)), snapshot.planned
    missing = max(0, (planned or 0) - len(snapshot.trials))
    if not running and not missing:
        return
    parts = [f"{running} of its trials run or wait to be taken up" if running else ""]
    parts.append(f"{missing} of {planned} have not begun" if missing else "")
    text = f"The search is not over: {' and '.join(filter(None, parts))}. If nothing runs, take it up where it stopped."
    yield text, f"thaw resume {evidence.place}"


def _edges(evidence: Evidence) -> Steps:
    """The best at the edge of a range, and the other good ones near it."""
    snapshot = evidence.snapshot
    top = evidence.competitors.head(max(3, len(evidence.competitors) // 10))
    if snapshot.best is None or len(top) < 3:
        return
    for value in snapshot.searched:
        if value.scale == "choice" or not value.bounded or (value.whole and value.high - value.low < 5):
            continue
        shares = value.shares(top[value.path])
        best, middle = shares[0], sorted(shares)[len(shares) // 2]
        if best != best or middle != middle:
            continue
        for at_edge, bound, side in (
            (best <= EDGE and middle <= 0.25, value.low, "lower"),
            (best >= 1 - EDGE and middle >= 0.75, value.high, "upper"),
        ):
            if at_edge:
                new = value.say(_beyond(value, lower=side == "lower"))
                yield (
                    f"{value.name} is at the {side} edge of its range ({value.say(bound)}) in the best trial, and "
                    "near it in the best "
                    f"{len(top)}: widen it, to {new} say.",
                    None,
                )


def _beyond(value: Searched, *, lower: bool) -> float:
    """A bound half a range further out, on the value's scale."""
    low, high = value.ends
    further = value.value_at(low - (high - low) / 2 if lower else high + (high - low) / 2)
    if value.scale == "linear" and lower and value.low >= 0:
        further = max(further, 0.0)  # what has been searched from 0 or above is seldom meant to be negative
    return round(further) if value.whole else further


def _few(evidence: Evidence) -> Steps:
    snapshot = evidence.snapshot
    trials, dimensions = max(len(snapshot.trials), snapshot.planned or 0), len(snapshot.searched)
    if dimensions and trials < FEW * dimensions:
        yield (
            f"{trials} trials are few for {dimensions} searched values: from {FEW * dimensions} on the space is seen in "
            "outline, and what mattered can be told.",
            None,
        )


def _late(evidence: Evidence) -> Steps:
    snapshot = evidence.snapshot
    finished = evidence.competitors.sort_values("trial")
    if snapshot.best is None or len(finished) < 8:
        return
    after = int((finished["trial"] > snapshot.best).sum())
    if after <= LATE * len(finished):
        yield (
            f"The best came late ({after} of {len(finished)} finished trials came after it): more trials are likely to pay.",
            None,
        )
    elif after >= len(finished) / 2 and len(snapshot.trials) >= FEW * len(snapshot.searched):
        yield (
            f"{after} trials have finished since the best one without beating it: more of the same will gain little.",
            None,
        )


def _still_rising(evidence: Evidence) -> Steps:
    top = evidence.snapshot.finished.head(5)
    rising = int((top["best_epoch"] == top["epochs"]).sum())
    if len(top) >= 2 and 2 * rising > len(top):
        yield (
            f"{rising} of the best {len(top)} trials were at their best in their last epoch: give the last stage more epochs.",
            None,
        )


def _fixed(evidence: Evidence) -> Steps:
    """Values that never rise above chance, where there were enough trials to see it."""
    snapshot, frame = evidence.snapshot, evidence.importances
    best = snapshot.trials[snapshot.trials["trial"] == snapshot.best]
    if not len(frame) or not len(best) or len(snapshot.placed) < 2 * FEW * len(snapshot.searched):
        return
    idle = set(frame["path"]) - set(frame.loc[frame["high"] > frame["chance"] / 2, "path"])
    told = [
        f"{v.name} = {v.say(best[v.path].iloc[0])}"
        for v in snapshot.searched
        if v.path in idle and best[v.path].notna().all()
    ]
    if told:
        yield (
            f"Fix what does not matter, and the same trials see more of the rest: {', '.join(told)} (the best trial's values).",
            None,
        )


def _rungs(evidence: Evidence) -> Steps:
    """Whether the order at the first rung is that of the end, among those that went on."""
    snapshot, judged = evidence.snapshot, rungs(evidence.snapshot)
    finished = snapshot.finished
    if not len(judged) or len(finished) < 6 or snapshot.trials["parent"].notna().any():
        return  # also where trials went on with other values than they had at the rung
    rung = int(judged["epoch"].iloc[0])
    then = _scores_at(snapshot.curves, rung, finished["trial"])
    agreement = then.corr(finished.set_index("trial")["score"], method="spearman")
    if agreement < 0.2:
        yield (
            f"What led at the first rung (epoch {rung}) did not lead at the end: among the {len(finished)} "
            "trials that finished the two "
            f"orders agree by {agreement:.2f} (Spearman). A later first rung, search.scheduler.grace_epochs "
            f"above {rung}, would judge "
            "what counts.",
            None,
        )


def _styles(evidence: Evidence) -> Steps:
    """A choice that the first rung ended more often than others, although it gained more after it."""
    snapshot, judged = evidence.snapshot, rungs(evidence.snapshot)
    if not len(judged):
        return
    rung = int(judged["epoch"].iloc[0])
    judged_there = snapshot.trials["parent_epoch"].fillna(0) < rung
    reached = snapshot.trials[(snapshot.trials["epochs"] >= rung) & judged_there]
    ended = (reached["epochs"] == rung) & (reached["status"] == TrialStatus.PRUNED.value)
    for value in snapshot.searched:
        if value.scale != "choice":
            continue
        for choice in value.choices:
            has = (reached[value.path].astype("string") == str(choice)).fillna(False).astype(bool)
            if has.sum() < 4 or (~has).sum() < 4:
                continue
            share, elsewhere = ended[has].mean(), ended[~has].mean()
            gain, others = (_gain_after(evidence, reached[rows], rung) for rows in (has, ~has))
            if gain is None or others is None or share - elsewhere <= 0.2 or gain <= 1.5 * max(others, 0):
                continue
            yield (
                f"{value.name} = {value.say(choice)} was pruned at epoch {rung} in {share:.0%} of its trials (others: "
                f"{elsewhere:.0%}), yet those that went on gained {evidence.say(gain)} after it, others "
                f"{evidence.say(others)}: it "
                "starts slowly, and the rungs may have ended the better style.",
                None,
            )


def _gain_after(evidence: Evidence, trials: pd.DataFrame, rung: int) -> float | None:
    """Mean gain of the finished ones from a rung to the end; None below two of them."""
    finished = trials[trials["status"] == TrialStatus.FINISHED.value].set_index("trial")["score"]
    if len(finished) < 2:
        return None
    then = _scores_at(evidence.snapshot.curves, rung, finished.index.to_series())
    return float(evidence.gain(1.0, 0.0) * (finished - then).mean())


def _scores_at(curves: pd.DataFrame, epoch: int, trials: pd.Series[int]) -> pd.Series[float]:
    """Best score so far, by trial."""
    rows = curves[(curves["epoch"] == epoch) & curves["trial"].isin(trials)]
    return rows.set_index("trial")["best_score"].astype(float)
