"""Messages between the driver of a search and its workers. Plain data; the only place that knows how Ray carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from trainables.core.rungs import Rungs
from trainables.run_folder.layout import RunLayout, TrialLayout
from trainables.run_folder.trial_record import Parent


@dataclass(frozen=True, kw_only=True)
class TrialAssignment:
    """A trial, as the driver hands it to a worker."""

    run: str
    """The search's folder."""
    number: int
    """The trial's number in the search."""
    attempt: int
    """Which start or resume of the search this belongs to."""
    recipe: str
    """The trial's recipe, as JSON."""
    trials: int
    """How many the search has; they share the features of frozen blocks."""
    parent: Parent | None = None
    """The trial and the epoch from which this one continues; None: it starts by itself."""
    rungs: Rungs = field(default_factory=Rungs)
    """Where the scheduler compares trials: a step ends there."""
    objectives: tuple[str, ...] = ()
    """Names of `Objective` and `Metric` that the search asks for."""
    reads_test: bool = False
    """Whether the run ends with a validation on the test split."""

    @property
    def layout(self) -> RunLayout:
        return RunLayout(self.run)

    @property
    def folder(self) -> TrialLayout:
        """The trial's folder."""
        return self.layout.trial(self.number)

    def to_config(self) -> dict[str, Any]:
        """The assignment as the config of a Ray trial."""
        return {
            **vars(self),
            "parent": self.parent and self.parent.model_dump(),
            "rungs": asdict(self.rungs),
            "objectives": list(self.objectives),
        }

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> TrialAssignment:
        """The assignment in the config of a Ray trial."""
        parent = config.get("parent")
        nested = {
            "parent": parent and Parent(**parent),
            "rungs": Rungs(**config.get("rungs", {})),
            "objectives": tuple(config.get("objectives", ())),
        }
        return cls(**{**_own(cls, config), **nested})


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Report of a worker after a step: an epoch, or several that took a moment; or why there was none."""

    epoch: int = 0
    """Epochs done, over all stages."""
    best_score: float | None = None
    """Of the best epoch so far, so that a temporary dip after a stage change does not count against a trial."""
    finished: bool = False
    """The run reached its own end; a trial whose last result says otherwise was pruned."""
    stopped_for: str | None = None
    """The flag that ended the run early."""
    objectives: Sequence[float | None] = ()
    """Values of the assignment's objectives by now. (No mapping: Ray flattens those.)"""
    reports: Sequence[dict[str, Any]] = ()
    """The step's lines in `epochs.jsonl`."""
    given_up: str | None = None
    """Why the trial ends without having trained: it failed twice in the same way."""
    refused: str | None = None
    """Why the search is to stop: its storage accepts no more data."""

    @property
    def is_last(self) -> bool:
        """Whether the trial ends with it, whatever the scheduler says."""
        return self.finished or self.given_up is not None or self.refused is not None

    @property
    def is_whole(self) -> bool:
        """Whether the run reached its own end, and no flag was that end."""
        return self.finished and not self.stopped_for

    def to_result(self) -> dict[str, Any]:
        """The result as Ray wants it. Reasons to end are there only where there is one."""
        lists = {"objectives": list(self.objectives), "reports": list(self.reports)}
        result = {**vars(self), **lists, "done": self.is_last}
        return {name: value for name, value in result.items() if name not in _REASONS or value is not None}

    @classmethod
    def of_result(cls, result: Mapping[str, Any]) -> StepResult:
        """The result in what Ray hands on, which has keys of Ray's own, too."""
        return cls(**_own(cls, result))


_REASONS = ("given_up", "refused")


def _own(kind: type[TrialAssignment | StepResult], values: Mapping[str, Any]) -> dict[str, Any]:
    return {own.name: values[own.name] for own in fields(kind) if own.name in values}
