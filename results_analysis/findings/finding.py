"""The parts of the report's findings: `Evidence` they are drawn from, and a `Conclusion` about a `Topic`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from results_analysis.plots.style import words
from results_analysis.statistics.score_interval import Spread, Standing, spread_of, standing
from results_analysis.tables.run_snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd


class Topic(StrEnum):
    BEST = "The best"
    SURE = "How sure"
    MATTERED = "What mattered"
    FLAGGED = "What was flagged"
    NEXT = "What to try next"


@dataclass(frozen=True)
class Conclusion:
    """A sentence or two."""

    topic: Topic
    text: str
    tone: Literal["plain", "good", "warning"] = "plain"
    command: str | None = None
    """What to type, where there is something."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What conclusions are drawn from, computed once."""

    snapshot: Snapshot
    importances: pd.DataFrame
    """Of `importance.importances`."""
    place: str
    """The run as the user names it, for commands."""

    @cached_property
    def spread(self) -> Spread | None:
        """Of the best trial's score."""
        if len(self.snapshot.class_names) == 1:
            return None  # whatever it is, it is not a score
        images = self.snapshot.environment.get("validation_images")
        return spread_of(self.snapshot.best_report, self.snapshot.metric, images=images)

    @cached_property
    def competitors(self) -> pd.DataFrame:
        """Trials that could have been called best: those that finished; where none has, all with a place."""
        snapshot = self.snapshot
        return snapshot.finished if len(snapshot.finished) else snapshot.placed

    @cached_property
    def standing(self) -> Standing | None:
        if self.spread is None or not self.spread.error or len(self.snapshot.finished) < 2:
            return None
        return standing(self.competitors["score"].tolist(), self.spread.error, mode=self.snapshot.metric.mode)

    def say(self, score: float) -> str:
        """A score with as many digits as mean something to people."""
        return f"{score:.4f}" if abs(score) < 10 else f"{score:.5g}"

    @property
    def metric(self) -> str:
        return words(self.snapshot.metric.value)

    def gain(self, score: float, than: float) -> float:
        """How much better, whichever way the metric points."""
        return score - than if self.snapshot.metric.mode == "max" else than - score
