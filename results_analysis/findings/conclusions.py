"""Conclusions of a search, in words. Each is computed from a `Snapshot`; one that would say nothing is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from results_analysis.findings.finding import Conclusion, Evidence, Topic, trial_names
from results_analysis.plots.style import words
from results_analysis.runs.columns import NULL
from results_analysis.statistics.importance import FEWEST, comparable
from results_analysis.tables.pareto import pareto_front
from results_analysis.tables.results_table import why_no_best
from results_analysis.tables.search_ranges import Searched, value_in
from trainables.core.config_errors import counted
from trainables.core.printable import command_line
from trainables.core.vocabulary import mode_of_objective

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def conclusions(evidence: Evidence) -> list[Conclusion]:
    """All conclusions, in the order of `Topic`."""
    from results_analysis.findings.next_steps import next_steps
    from results_analysis.findings.warning_signs import flagged  # they import this module

    rules = (_best, _front, _second, _defaults, _sure, _curse, _mattered, flagged, next_steps)
    found = [conclusion for rule in rules for conclusion in rule(evidence)]
    return sorted(found, key=lambda conclusion: list(Topic).index(conclusion.topic))


# --- the best -------------------------------------------------------------------------------------------------------


def _best(evidence: Evidence) -> Iterator[Conclusion]:
    snapshot = evidence.snapshot
    if not len(snapshot.trials):
        yield Conclusion(Topic.BEST, "The search has no trials yet.", "warning")
        return
    if snapshot.best is None:
        why = why_no_best(snapshot.trials)
        yield Conclusion(Topic.BEST, f"{why[0].upper()}{why[1:]}, so there is no best trial.", "warning")
        return
    row = snapshot.trials.loc[snapshot.trials["trial"] == snapshot.best].iloc[0]
    text = f"Trial {snapshot.best} has the best {evidence.metric}, {evidence.format_score(row['score'])}"
    text += f", in epoch {row['best_epoch']} of {row['epochs']}"
    if len(evidence.finished) > 1:
        yield Conclusion(
            Topic.BEST,
            f"{text} (best of {len(evidence.finished)} finished trials).",
            "good",
            command_line("export", evidence.run_as_typed),
        )
    elif len(evidence.finished):
        yield Conclusion(
            Topic.BEST, f"{text}. It is the only finished trial.", command=command_line("export", evidence.run_as_typed)
        )
    else:
        yield Conclusion(Topic.BEST, f"{text}. No trial has finished yet; this one is {row['status']}.", "warning")


def _front(evidence: Evidence) -> Iterator[Conclusion]:
    """Trials that no other trial beats in all objectives, where the search has several."""
    snapshot = evidence.snapshot
    names = snapshot.further_objectives
    if not names or not len(evidence.finished):
        return
    modes = {name: mode_of_objective(name, snapshot.metric) for name in ("score", *names)}
    front = pareto_front(evidence.finished, modes)
    if not len(front):
        return
    best = front["trial"].head(8)
    listed = ", ".join(map(str, best)) + (" …" if len(front) > len(best) else "")
    text = (
        f"The search has {len(modes)} objectives: {evidence.metric}, {', '.join(map(words, names))}. Of the "
        f"{counted(len(evidence.finished), 'finished trial')} {len(front)} cannot be improved in one without losing in another "
        f"(the Pareto front): {listed}."
    )
    yield Conclusion(Topic.BEST, text, command=command_line("results", evidence.run_as_typed, "--pareto"))


def _second(evidence: Evidence) -> Iterator[Conclusion]:
    if len(evidence.finished) < 2:
        return
    best, second = evidence.competitors.iloc[0], evidence.competitors.iloc[1]
    gap = evidence.gain(best["score"], second["score"])
    median = evidence.competitors["score"].median()
    of_second = evidence.format_score(second["score"])
    if gap:
        text = f"It is {evidence.format_gain(gap)} better than the second best, trial {second['trial']} ({of_second})"
    else:
        equal = evidence.competitors.loc[evidence.competitors["score"] == best["score"], "trial"].iloc[1:]
        text = f"It shares this score with {trial_names(equal)}; of equal trials the one with the lowest number counts as best"
    ahead, trials = evidence.gain(best["score"], median), len(evidence.competitors)
    if trials > 3 and ahead:
        joined = ", and" if gap else ". It is"
        text += f"{joined} {evidence.format_gain(ahead)} better than the median of the {trials} finished trials"
    yield Conclusion(Topic.BEST, f"{text}.")


NEAR = 0.1
"""Mean distance, in shares of the searched ranges, up to which a trial counts as close to the file's own values."""


def _defaults(evidence: Evidence) -> Iterator[Conclusion]:
    """Compares the best trial with the one closest to the values that the search file itself sets."""
    import numpy as np

    snapshot, rivals = evidence.snapshot, evidence.competitors
    distances = [_distances(value, snapshot.run.config, rivals[value.path]) for value in snapshot.searched]
    if not distances or len(evidence.finished) < 2:
        return
    mean = np.mean(distances, axis=0)
    nearest = rivals.iloc[int(mean.argmin())]
    gap = evidence.gain(rivals.iloc[0]["score"], nearest["score"])
    if mean.min() <= NEAR:
        if gap == 0:
            text = f"trial {nearest['trial']}, the closest to the search file's own values, has the best score."
            yield Conclusion(Topic.BEST, f"Searching gained nothing: {text}")
            return
        used = "the search file's own values" if mean.min() == 0 else "values close to the search file's own"
        text = f"Trial {nearest['trial']} used {used} and scored {evidence.format_score(nearest['score'])}"
        yield Conclusion(Topic.BEST, f"{text}, so searching gained {evidence.format_gain(gap)}.")
    else:
        text = (
            "What searching gained over the search file's own values is unknown, because no finished trial used values "
            "close to them."
        )
        if gap:
            text += (
                f" The closest, trial {nearest['trial']}, differs by {mean.min():.0%} of the searched range on average and "
                f"scored {evidence.format_score(nearest['score'])}."
            )
        yield Conclusion(Topic.BEST, text)


def _distances(value: Searched, config: Mapping[str, Any], column: pd.Series[Any]) -> np.ndarray:
    """Distance of the trials' values from the search file's own one, in shares of the searched range.

    It is 1 from another choice, from a value that is not in the file, and from a file's value that a trial does not have.
    """
    import numpy as np

    own = value_in(config, value.path)
    low, high = value.ends
    share = (value.position(NULL if own is None and NULL in value.choices else own) - low) / (high - low)
    if share != share:
        return column.notna().to_numpy(dtype=float)
    apart = np.nan_to_num(np.abs(value.shares(column) - share), nan=1.0)
    return (apart > 0).astype(float) if value.scale == "choice" else apart


# --- how sure -------------------------------------------------------------------------------------------------------


def _sure(evidence: Evidence) -> Iterator[Conclusion]:
    spread = evidence.spread
    if evidence.snapshot.best is None or len(evidence.snapshot.class_names) == 1:
        return
    if spread is None:
        text = (
            f"How much {evidence.metric} would change with other validation images is unknown: the run does not record "
            "what is needed to compute it."
        )
        yield Conclusion(Topic.SURE, text)
        return
    text = (
        f"With other validation images of the same kind, trial {evidence.snapshot.best} would score between "
        f"{evidence.format_score(spread.low)} and {evidence.format_score(spread.high)} (95% interval, {spread.how}). "
        "Training with another seed would add further variation."
    )
    yield Conclusion(Topic.SURE, text)


def _curse(evidence: Evidence) -> Iterator[Conclusion]:
    if (standing := evidence.standing) is None:
        return
    first, gap = evidence.competitors.iloc[0], evidence.gain(*evidence.competitors["score"].iloc[:2])
    if standing.wins >= 0.95:
        text = (
            "The lead over the second best is larger than other validation images would explain: trial "
            f"{first['trial']} comes first in {standing.wins:.0%} of simulated draws."
        )
        yield Conclusion(Topic.SURE, text, "good")
        return
    assert evidence.spread is not None
    lead = f"the lead of {evidence.format_gain(gap)} is {gap / evidence.spread.error:.1f} standard errors"
    text = (
        f"The order at the top is uncertain: {lead if gap else 'the best two have the same score'}, and with other validation "
        "images trial "
        f"{first['trial']} would come first {standing.wins:.0%} of the time"
    )
    rivals = f"; {standing.rivals} trials could well be the best" if standing.rivals > 1 else ""
    text += (
        f"{rivals}. The best of {len(evidence.competitors)} noisy scores also looks better than it is, here by about "
        f"{evidence.format_score(standing.optimism)}."
    )
    top = min(max(standing.rivals, 2), 5)
    yield Conclusion(
        Topic.SURE, text, "warning", command_line("confirm", evidence.run_as_typed, "--top", top, "--seeds", 5)
    )


# --- what mattered --------------------------------------------------------------------------------------------------


def _mattered(evidence: Evidence) -> Iterator[Conclusion]:
    frame = evidence.importances
    if not len(evidence.snapshot.searched):
        yield Conclusion(Topic.MATTERED, "Nothing was searched: all trials use the same recipe.")
        return
    if not len(frame):
        yield Conclusion(Topic.MATTERED, _why_unknown(evidence))
        return
    ranked = frame[frame["evaluator"] == frame["evaluator"].iloc[0]]
    out = ranked[ranked["importance"] > ranked["chance"]]
    if not len(out):
        first = ranked.iloc[0]
        text = (
            f"No searched value stands out from chance yet. {first['name']} is highest, with {first['importance']:.0%} of the "
            f"importance ({first['low']:.0%} … {first['high']:.0%}); with the trials' ranks shuffled, a value gets up to "
            f"{first['chance']:.0%}."
        )
        yield Conclusion(Topic.MATTERED, text)
        return
    shares = ", ".join(f"{row['name']} ({_share(row)})" for _, row in out.head(4).iterrows())
    text = f"Searched values that set the best trials apart, by more than chance explains: {shares}."
    yield Conclusion(Topic.MATTERED, text, "good")
    best = evidence.snapshot.trials[evidence.snapshot.trials["trial"] == evidence.snapshot.best]
    for path in out["path"].head(3) if len(best) else ():
        if where := _good_values(evidence, path):
            yield Conclusion(Topic.MATTERED, where)


def _why_unknown(evidence: Evidence) -> str:
    """Reason why there are no importances."""
    placed, varied = comparable(evidence.snapshot)
    if len(placed) < FEWEST:
        return f"Too few trials can be compared ({len(placed)}) to tell which searched values mattered."
    if varied:
        return (
            f"{varied[0].name} is the only value in which enough trials differ, so its importance cannot be compared."
        )
    return f"No searched value differs among the {FEWEST} or more trials that have it, so none shows what mattered."


def _share(row: pd.Series[float]) -> str:
    """Share of the importance with its middle 80%: `52% of the importance, 40% … 60%`."""
    return f"{row['importance']:.0%} of the importance, {row['low']:.0%} … {row['high']:.0%}"


def _good_values(evidence: Evidence, path: str) -> str | None:
    """Values that the best tenth of the trials (at least five) have, and those of all trials; None below twice as many trials."""
    value = next(value for value in evidence.snapshot.searched if value.path == path)
    placed = evidence.snapshot.on_the_same_data.dropna(subset=[path])
    top = placed.head(max(5, len(placed) // 10))
    if len(placed) < 2 * len(top):
        return None
    if value.scale == "choice":
        commonest = top[path].mode().iloc[0]
        share, before = ((rows[path] == commonest).mean() for rows in (top, placed))
        shares = f"{share:.0%} of the best {len(top)} trials, {before:.0%} of all trials"
        return f"{value.name}: {value.format_value(commonest)} in {shares}."
    low, high = (value.format_value(top[path].astype(float).quantile(q)) for q in (0.25, 0.75))
    spans = [value.format_value(placed[path].astype(float).quantile(q)) for q in (0.25, 0.75)]
    return f"{value.name}: mostly {low} … {high} in the best {len(top)} trials, {spans[0]} … {spans[1]} in all trials."
