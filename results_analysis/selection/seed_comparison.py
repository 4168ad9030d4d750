"""Comparison of recipes that were trained with the same seeds (`thaw confirm`, `thaw ablate`), and its verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from results_analysis.runs.run import Run, RunError, load
from results_analysis.statistics.paired_seeds import Estimate, estimate, paired_difference, seeds_to_tell
from trainables.core.config_errors import counted
from trainables.core.vocabulary import CANDIDATE, SEED, Metric, TrialStatus
from trainables.run_folder.layout import TrialLayout

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recipe and its results."""

    name: str
    scores: Mapping[int, float]
    """Seed -> best score of the finished run."""
    test: Mapping[int, float]
    """Seed -> metric on the test split, if there is one."""
    failed: Mapping[int, str]
    """Seed -> reason why the run has no score."""
    train_s: float
    """Mean training time of a run, in seconds."""
    search_score: float | None = None
    """Score in the search, by which the candidate was chosen."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Candidates in the order given; in an ablation the first one is the baseline."""

    metric: Metric
    seeds: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    missing: int
    """Number of runs that are not finished."""
    scored: tuple[Candidate, ...] = field(init=False)
    """Candidates with a score, best mean first."""

    def __post_init__(self) -> None:
        sign = 1 if self.metric.mode == "max" else -1
        scored = [candidate for candidate in self.candidates if candidate.scores]
        scored.sort(key=lambda candidate: -sign * estimate(list(candidate.scores.values())).mean)
        object.__setattr__(self, "scored", tuple(scored))

    def advantage(self, of: Candidate, than: Candidate, *, comparisons: int = 1) -> Estimate | None:
        """Advantage of one candidate over another, in the direction of the metric; see `paired_difference`.

        Args:
            of: the candidate that may be better.
            than: the one it is compared with.
            comparisons: number of intervals that should hold together; see `estimate`.
        Returns:
            None where they have no seed in common.
        """
        pair = (of.scores, than.scores) if self.metric.mode == "max" else (than.scores, of.scores)
        return paired_difference(*pair, comparisons=comparisons)


def load_comparison(run: Run) -> Comparison:
    """Loads the comparison in a run's folder, finished or not.

    Raises:
        RunError: if the run is a search.
    """
    plan = run.config.get("comparison")
    if not isinstance(plan, dict):
        raise RunError(f"run {run.name!r} is a search, not a comparison")
    found: dict[str, list[tuple[int, dict[str, Any], TrialLayout]]] = {name: [] for name in plan["candidates"]}
    for number in run.numbers:
        row = run.summary(number)
        found[row[CANDIDATE]].append((row[SEED], row, run.folder(number)))
    search_scores = plan.get("promised", {})
    candidates = tuple(_candidate(name, rows, search_scores.get(name), run.metric) for name, rows in found.items())
    ended = sum(len(candidate.scores) + len(candidate.failed) for candidate in candidates)
    seeds = tuple(plan["seeds"])
    return Comparison(
        metric=run.metric, seeds=seeds, candidates=candidates, missing=len(candidates) * len(seeds) - ended
    )


def confirmation_of(run: Run) -> Comparison | None:
    """Latest confirmation of a search (`thaw confirm`); None where there is none, or it is not finished."""
    if not run.layout.confirmations:
        return None
    found = load_comparison(load(run.layout.confirmations[-1].root))
    return found if found.scored and not found.missing else None


def _candidate(
    name: str, rows: list[tuple[int, dict[str, Any], TrialLayout]], search_score: float | None, metric: Metric
) -> Candidate:
    ended = [row for row in rows if row[1]["status"] != TrialStatus.RUNNING]
    finished = {seed: (row, folder) for seed, row, folder in ended if row["status"] == TrialStatus.FINISHED}
    scores = {seed: row["score"] for seed, (row, _) in finished.items() if row["score"] is not None}
    test = {seed: value for seed, (_, folder) in finished.items() if (value := _on_test(folder, metric)) is not None}
    failed = {seed: row["reason"] or "no score" for seed, row, _ in ended if seed not in scores}
    times = [row["train_s"] for row, _ in finished.values()]
    train_s = sum(times) / len(times) if times else math.nan
    return Candidate(name=name, scores=scores, test=test, failed=failed, train_s=train_s, search_score=search_score)


def _on_test(folder: TrialLayout, metric: Metric) -> float | None:
    if not folder.test.exists():
        return None
    value: float | None = json.loads(folder.test.read_bytes())["metrics"].get(metric.value)
    return value


# --- as a table and in words ----------------------------------------------------------------------------------------


def comparison_table(comparison: Comparison, *, baseline: Candidate | None = None) -> pd.DataFrame:
    """Table with one row a candidate: best first, or in the order given where there is a baseline.

    `mean`, `deviation`, `low` and `high` describe the score over seeds; `test` and `test_deviation` the metric on the test
    split; `promised` is the score in the search. `advantage`, with its interval `advantage_low` and `advantage_high`, is the
    mean difference seed by seed: of the candidate over the baseline, or of the first candidate over this one.
    """
    import pandas as pd

    order = comparison.scored if baseline is None else comparison.candidates
    rows = []
    for candidate in order:
        row = {"candidate": candidate.name, "seeds": len(candidate.scores), "failed": len(candidate.failed)}
        score = estimate(list(candidate.scores.values())) if candidate.scores else None
        test = estimate(list(candidate.test.values())) if candidate.test else None
        ahead = None
        if baseline is not None and candidate is not baseline:
            ahead = comparison.advantage(candidate, baseline, comparisons=len(order) - 1)
        elif baseline is None and candidate is not order[0]:
            ahead = comparison.advantage(order[0], candidate, comparisons=len(order) - 1)
        row |= {"mean": score and score.mean, "deviation": score and score.deviation}
        row |= {"low": score and score.low, "high": score and score.high}
        row |= {"test": test and test.mean, "test_deviation": test and test.deviation}
        row |= {"promised": candidate.search_score, "train_s": candidate.train_s}
        row |= {"advantage": ahead and ahead.mean}
        row |= {"advantage_low": ahead and ahead.low, "advantage_high": ahead and ahead.high}
        rows.append(row)
    return pd.DataFrame(rows)


def verdict(comparison: Comparison) -> list[str]:
    """Verdict of a confirmation on the winner, as sentences."""
    if not comparison.scored:
        return ["No run has a score: nothing is confirmed."]
    winner, *others = comparison.scored
    score = estimate(list(winner.scores.values()))
    # A single candidate is best of nothing.
    says = "is best:" if others else "has"
    lines = [f"{winner.name} {says} {comparison.metric.value} {score} over {counted(score.seeds, 'seed')}."]
    if winner.search_score is not None:
        lines.append(_against_search(score, winner.search_score, comparison.metric))
    if others:
        lines.append(_against_runner_up(comparison, winner, others[0]))
    if winner.test:
        test = estimate(list(winner.test.values()))
        lines.append(f"On the test split, which no choice was based on: {test}.")
    for candidate in comparison.candidates:
        if candidate.failed:
            lines.append(f"{candidate.name}: {counted(len(candidate.failed), 'seed')} gave no score.")
    return lines


def _against_search(score: Estimate, search_score: float, metric: Metric) -> str:
    lost = search_score - score.mean if metric.mode == "max" else score.mean - search_score
    if lost <= 0:
        return f"That is at least as good as its score in the search ({search_score:.4f})."
    return f"Its score in the search was {search_score:.4f}: {lost:.4f} of that was luck (the winner's curse)."


def _against_runner_up(comparison: Comparison, winner: Candidate, second: Candidate) -> str:
    ahead = comparison.advantage(winner, second, comparisons=len(comparison.scored) - 1)
    if ahead is None:
        return f"It has no seed in common with {second.name}: they cannot be compared."
    if ahead.seeds == 1:
        lead = f"is {ahead.mean:.4f} better than" if ahead.mean else "has the same score as"
        return f"It {lead} {second.name} with one common seed: more seeds are needed to be sure."
    interval = f"{ahead.low:.4f} … {ahead.high:.4f}"
    if ahead.excludes_zero:
        return f"It is reliably better than {second.name}: by {ahead.mean:.4f}, 95% interval {interval}, compared seed by seed."
    cheaper = min((winner, second), key=lambda candidate: candidate.train_s)
    needed = seeds_to_tell(ahead)
    enough = f"; about {needed} seeds would settle it" if needed and needed > ahead.seeds else ""
    lead = f"{ahead.mean:.4f} on average" if ahead.mean else "the same on average"
    return (
        f"It is not reliably better than {second.name}: {lead}, 95% interval {interval}{enough}. "
        f"{cheaper.name} is the cheaper one ({winner.train_s:.0f} s and {second.train_s:.0f} s of training)."
    )
