"""Suggestions for the next search, from the trials of this one. A rule that finds nothing to suggest says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from results_analysis.findings.finding import Conclusion, Evidence, Topic
from results_analysis.plots.learning_curves import rungs
from results_analysis.tables.run_snapshot import Snapshot
from results_analysis.tables.search_ranges import Searched
from trainables.core.config_errors import counted
from trainables.core.dotted_paths import with_values
from trainables.core.printable import command_line
from trainables.core.vocabulary import TrialStatus
from trainables.recipe.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

EDGE = 0.05
"""Share of a searched range, at either end, that counts as its edge."""
STEPS = (0.5, 0.25, 0.1, 0.05)
"""Shares of a searched range by which to widen it; the first that a recipe allows is proposed."""
FEW = 5
"""Trials per searched value below which a search counts as small."""
LATE = 0.15
"""Largest share of the finished trials that may follow the best one for it to count as late."""


def next_steps(evidence: Evidence) -> Iterator[Conclusion]:
    """Conclusions of the topic `NEXT`; none before the first trial."""
    if not len(evidence.snapshot.trials):
        return
    rules = (_all_failed, _unfinished, _edges, _few, _late, _still_rising, _fixed, _rungs, _styles)
    for text, command in (step for rule in rules for step in rule(evidence)):
        yield Conclusion(Topic.NEXT, text, command=command)


Steps = Iterator[tuple[str, str | None]]
"""Sentences, each with a command or None."""


def _all_failed(evidence: Evidence) -> Steps:
    snapshot = evidence.snapshot
    failed = snapshot.of_status(TrialStatus.FAILED)
    if len(failed) and len(failed) + len(snapshot.of_status(TrialStatus.RUNNING)) == len(snapshot.trials):
        file = snapshot.run.layout.trial(int(failed["trial"].min())).error
        yield (
            f"Every trial that ended has failed. Fix the cause before resuming; the first traceback is in {file}.",
            None,
        )


def _unfinished(evidence: Evidence) -> Steps:
    snapshot = evidence.snapshot
    running, planned = len(snapshot.of_status(TrialStatus.RUNNING)), snapshot.planned
    missing = max(0, (planned or 0) - len(snapshot.trials))
    if not running and not missing:
        return
    if snapshot.is_over:
        yield f"A budget of search.stop ended the search after {len(snapshot.trials)} of {planned} trials.", None
        return
    parts = [f"{running} {'trials are' if running > 1 else 'trial is'} running or interrupted" if running else ""]
    parts.append(f"{missing} of {planned} have not started" if missing else "")
    text = f"The search is not finished: {' and '.join(filter(None, parts))}. If it is no longer running, resume it."
    yield text, command_line("resume", evidence.run_as_typed)


def _edges(evidence: Evidence) -> Steps:
    """Ranges at whose edge the best trial is, with most other good trials near it."""
    snapshot = evidence.snapshot
    top = evidence.competitors.head(max(3, len(evidence.competitors) // 10))
    if snapshot.best is None or len(top) < 3:
        return
    best_row = snapshot.trials[snapshot.trials["trial"] == snapshot.best]
    for value in snapshot.searched:
        if value.scale == "choice" or not value.bounded or (value.whole and value.high - value.low < 5):
            continue
        shares = value.shares(top[value.path])
        best, middle = value.shares(best_row[value.path])[0], sorted(shares)[len(shares) // 2]
        if best != best or middle != middle:
            continue
        for at_edge, bound, side in (
            (best <= EDGE and middle <= 0.25, value.low, "lower"),
            (best >= 1 - EDGE and middle >= 0.75, value.high, "upper"),
        ):
            if at_edge and (new := _beyond(value, snapshot, lower=side == "lower")):
                yield (
                    f"{value.name}: the best trial is at the {side} edge of the searched range ({value.format_value(bound)}), and "
                    f"most of the best {len(top)} trials are near it. Widen the range, for example to {new}.",
                    None,
                )


def _beyond(value: Searched, snapshot: Snapshot, *, lower: bool) -> str | None:
    """A bound further out, on the value's scale; None where the best trial's recipe allows none."""
    low, high = value.ends
    assert snapshot.best is not None
    recipe = snapshot.run.recipe(snapshot.best)
    for step in STEPS:
        at = low - (high - low) * step if lower else high + (high - low) * step
        further = value.value_at(at)
        if not math.isfinite(further):
            continue
        text = value.format_value(round(further) if value.whole else further)
        number = int(text) if value.whole else float(text)
        is_beyond = number < value.low if lower else number > value.high
        if is_beyond and _problems(with_values(recipe, {value.path: number})) <= _problems(recipe):
            return text
    return None


def _problems(recipe: Mapping[str, Any]) -> set[tuple[str | int, ...]]:
    """Places of a recipe's problems; a recipe of an older version may have some."""
    try:
        Recipe.model_validate(recipe)
    except ValidationError as error:
        return {problem["loc"] for problem in error.errors(include_url=False)}
    return set()


def _few(evidence: Evidence) -> Steps:
    snapshot = evidence.snapshot
    coming = 0 if snapshot.is_over else snapshot.planned or 0
    trials, dimensions = max(len(snapshot.trials), coming), len(snapshot.searched)
    if dimensions and trials < FEW * dimensions:
        yield (
            f"{counted(trials, 'trial')} are few for {counted(dimensions, 'searched value')}. "
            f"With {FEW * dimensions} or more, the report can say which values mattered.",
            None,
        )


def _late(evidence: Evidence) -> Steps:
    snapshot = evidence.snapshot
    finished = evidence.finished.sort_values("trial")
    if snapshot.best is None or len(finished) < 8:
        return
    after = int((finished["trial"] > snapshot.best).sum())
    if after <= LATE * len(finished):
        yield (
            f"The best trial came late: {after} of the {len(finished)} finished trials came after it. More trials are likely "
            "to help.",
            None,
        )
    elif after >= len(finished) / 2 and len(snapshot.trials) >= FEW * len(snapshot.searched):
        yield (
            f"{after} later trials did not beat the best one: more trials of this search will gain little.",
            None,
        )


def _still_rising(evidence: Evidence) -> Steps:
    top = evidence.finished.head(5)
    rising = int((top["best_epoch"] == top["epochs"]).sum())
    if len(top) >= 2 and 2 * rising > len(top):
        yield (
            f"{rising} of the best {len(top)} trials had their best epoch at the very end: give the last stage more epochs.",
            None,
        )


def _fixed(evidence: Evidence) -> Steps:
    """Values that never rise above chance, if there are enough trials to tell."""
    snapshot, frame = evidence.snapshot, evidence.importances
    best = snapshot.trials[snapshot.trials["trial"] == snapshot.best]
    if not len(frame) or not len(best) or len(snapshot.placed) < 2 * FEW * len(snapshot.searched):
        return
    idle = set(frame["path"]) - set(frame.loc[frame["high"] > frame["chance"] / 2, "path"])
    values = [
        f"{v.name} = {v.format_value(best[v.path].iloc[0])}"
        for v in snapshot.searched
        if v.path in idle and best[v.path].notna().all()
    ]
    if values:
        yield (
            "Fix the values that do not matter, so that the same number of trials covers the others better: "
            f"{', '.join(values)} (the best trial's values).",
            None,
        )


def _rungs(evidence: Evidence) -> Steps:
    """Compares the ranking at the first rung with the final one, among the finished trials."""
    snapshot, pruned_at = evidence.snapshot, rungs(evidence.snapshot)
    finished = evidence.finished
    if not len(pruned_at) or len(finished) < 6 or snapshot.trials["parent"].notna().any():
        return  # a trial that continues another may have had other values at the rung
    rung = int(pruned_at["epoch"].iloc[0])
    then = _scores_at(snapshot.curves, rung, finished["trial"])
    agreement = then.corr(finished.set_index("trial")["score"], method="spearman")
    if agreement < 0.2:
        yield (
            f"The ranking at the first rung (epoch {rung}) says little about the final ranking: their rank correlation "
            f"(Spearman) is {agreement:.2f} among the {len(finished)} finished trials. Set search.scheduler.grace_epochs "
            f"above {rung}, so that trials are not pruned before their scores mean something.",
            None,
        )


def _styles(evidence: Evidence) -> Steps:
    """Choices that the first rung pruned more often than others, although they gained more after it."""
    snapshot, pruned_at = evidence.snapshot, rungs(evidence.snapshot)
    if not len(pruned_at):
        return
    rung = int(pruned_at["epoch"].iloc[0])
    started_before = snapshot.trials["parent_epoch"].fillna(0) < rung
    reached = snapshot.trials[(snapshot.trials["epochs"] >= rung) & started_before]
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
                f"{value.name} = {value.format_value(choice)} was pruned at epoch {rung} in {share:.0%} of its trials (others: "
                f"{elsewhere:.0%}), yet its finished trials gained {evidence.format_score(gain)} after that epoch (others: "
                f"{evidence.format_score(others)}). It starts slowly, so the rungs may have pruned the better choice.",
                None,
            )


def _gain_after(evidence: Evidence, trials: pd.DataFrame, rung: int) -> float | None:
    """Mean gain of the finished trials from a rung to the end; None below two of them."""
    finished = trials[trials["status"] == TrialStatus.FINISHED.value].set_index("trial")["score"]
    if len(finished) < 2:
        return None
    then = _scores_at(evidence.snapshot.curves, rung, finished.index.to_series())
    return float(evidence.gain(1.0, 0.0) * (finished - then).mean())


def _scores_at(curves: pd.DataFrame, epoch: int, trials: pd.Series[int]) -> pd.Series[float]:
    """Best score up to an epoch, by trial."""
    rows = curves[(curves["epoch"] == epoch) & curves["trial"].isin(trials)]
    return rows.set_index("trial")["best_score"].astype(float)
