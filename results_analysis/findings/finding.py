"""The parts of the report's findings: `Evidence` they are drawn from, and a `Conclusion` about a `Topic`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from results_analysis.plots.style import words
from results_analysis.statistics.score_interval import Spread, Standing, spread_of, standing
from results_analysis.tables.run_snapshot import Snapshot
from trainables.core.vocabulary import TrialStatus

if TYPE_CHECKING:
    import pandas as pd


class Topic(StrEnum):
    """Headings under which conclusions stand in the report."""

    BEST = "Best trial"
    RESULT = "Result"
    """Heading for a single training run, which has no best trial."""
    SURE = "How certain"
    MATTERED = "What mattered"
    FLAGGED = "Warning signs"
    LIMITS = "What limits it"
    NEXT = "What to try next"


@dataclass(frozen=True)
class Conclusion:
    """One finding, in one or two sentences."""

    topic: Topic
    text: str
    tone: Literal["plain", "good", "warning"] = "plain"
    command: str | None = None
    """Command to run next, if there is one."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The data that conclusions are drawn from, computed once."""

    snapshot: Snapshot
    importances: pd.DataFrame
    """Result of `importance.importances`."""
    run_as_typed: str
    """Name of the run as the user typed it, for commands."""

    @cached_property
    def spread(self) -> Spread | None:
        """Uncertainty of the best trial's score; None where it cannot be computed."""
        if len(self.snapshot.class_names) == 1:
            return None  # with a single class every classification metric is meaningless
        images = self.snapshot.environment.get("validation_images")
        return spread_of(self.snapshot.best_report, self.snapshot.metric, images=images)

    @cached_property
    def finished(self) -> pd.DataFrame:
        """Finished trials that saw the same data as the best one, best first."""
        comparable = self.snapshot.on_the_same_data
        return comparable[comparable["status"] == TrialStatus.FINISHED.value]

    @cached_property
    def competitors(self) -> pd.DataFrame:
        """Candidates for the best trial: the finished ones; if there are none, all with a place."""
        return self.finished if len(self.finished) else self.snapshot.on_the_same_data

    @cached_property
    def standing(self) -> Standing | None:
        """Certainty of the best trial's first place; None below two finished trials, or without an uncertainty."""
        if self.spread is None or not self.spread.error or len(self.finished) < 2:
            return None
        return standing(self.competitors["score"].tolist(), self.spread.error, mode=self.snapshot.metric.mode)

    def format_score(self, score: float) -> str:
        """See `format_score`."""
        return format_score(score)

    def format_gain(self, gap: float) -> str:
        """See `format_gain`."""
        return format_gain(gap)

    @property
    def metric(self) -> str:
        """Name of the metric in words."""
        return words(self.snapshot.metric.value)

    def gain(self, score: float, than: float) -> float:
        """Difference of two scores; positive where the first is better."""
        return score - than if self.snapshot.metric.mode == "max" else than - score


def format_score(score: float) -> str:
    """Formats a score with four decimals, or five significant digits from 10 on."""
    return f"{score:.4f}" if abs(score) < 10 else f"{score:.5g}"


def format_gain(gap: float) -> str:
    """Formats the difference of two different scores, which is not 0 however small it is."""
    return "less than 0.0001" if 0 < gap < 0.00005 else format_score(gap)


def trial_names(numbers: pd.Series[int]) -> str:
    """Names trials in words: `trial 3`, `trials 3, 9`, or `41 trials` where there are more than six."""
    if len(numbers) > 6:
        return f"{len(numbers)} trials"
    return f"trial{'s' if len(numbers) > 1 else ''} {', '.join(map(str, sorted(numbers)))}"
