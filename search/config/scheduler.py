"""`search.scheduler`: rule that decides which trials continue, and the declaration of each scheduler. Plain data."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from trainables.core.config_errors import Config
from trainables.core.rungs import Rungs, Unit


def default_grace(epochs: int) -> int:
    """Epochs before trials are compared, unless the search names another number; at least one is left to save.

    Args:
        epochs: epochs of the longest trial.
    """
    return min(4, max(1, epochs - 1))


class SchedulerSettings(Config, ABC):
    """Settings of a scheduler, and the rules that follow from them alone."""

    @abstractmethod
    def place_rungs(self, *, epochs: int, stages: int) -> Rungs:
        """Rungs of a search; none if nothing is pruned.

        Args:
            epochs: epochs of the longest trial.
            stages: stages of the longest trial.
        """

    @property
    def waits_for_drw(self) -> bool:
        """True if a trial is not compared with others before its re-weighting has settled."""
        return False

    @property
    def why_pruned(self) -> str:
        """Place among the others of a trial that is pruned."""
        return "not among the best"

    @property
    def most_at_once(self) -> int | None:
        """Most trials at once; None: any number."""
        return None

    @property
    def checkpoint_every_epochs(self) -> int | None:
        """Epochs between checkpoints that later trials start from; None: no trial starts from another."""
        return None


class Comparing(SchedulerSettings):
    """Settings of all schedulers that compare trials."""

    before_drw: Literal["corrected", "wait", "score"] = "corrected"
    """Score of a trial that re-weights later (`train.drw`), until its effect has settled. `corrected`: its best score so
    far with the learned class shares divided out, which is close to what re-weighting will achieve. `wait`: it is not
    compared with others. `score`: its best score so far, as for all other trials."""

    @property
    def waits_for_drw(self) -> bool:
        return self.before_drw == "wait"


class Stopping(Comparing):
    """Settings of all schedulers that stop trials for good, and start each from scratch."""

    @abstractmethod
    def stops(self, score: float, others: Sequence[float]) -> bool:
        """Decides whether a trial stops at a rung.

        Args:
            score: score of the trial; higher is better.
            others: scores of the trials that reached the rung before.
        """

    def brackets_of(self, rungs: int) -> int:  # noqa: ARG002
        """Number of brackets in a search with this many rungs."""
        return 1


class Halving(Stopping):
    """Settings of rungs at which only the best trials continue."""

    if TYPE_CHECKING:
        reduction: float

    rungs: Unit = "stages"
    """Unit of the rungs. `stages`: each end of a stage is a rung, and the best trials enter the next stage (epochs if
    no trial has a second stage). `epochs`: each rung is at `reduction` times the epochs of the one before. `compute`:
    the same for the share of a trial's own planned compute (trained parameters × training images), so that a head alone
    is not compared with a trained backbone."""
    grace_epochs: int | None = Field(None, ge=1)
    """Epochs before the first rung; implies `rungs: epochs`. By default 4, in shorter trials one less than they have."""
    grace_share: float | None = Field(None, gt=0, le=1)
    """Share of the compute before the first rung; implies `rungs: compute`. By default 0.1."""

    @model_validator(mode="before")
    @classmethod
    def _grace_names_its_unit(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("rungs") is not None:
            return data
        given = [unit for unit, field in _GRACE.items() if data.get(field) is not None]
        return {**data, "rungs": given[0]} if len(given) == 1 else data

    @model_validator(mode="after")
    def _grace_fits_its_unit(self) -> Halving:
        for unit, field in _GRACE.items():
            if getattr(self, field) is not None and self.rungs != unit:
                raise ValueError(
                    f"{field} counts {unit}, and rungs are in {self.rungs}; remove it, or set rungs: {unit}"
                )
        return self

    def place_rungs(self, *, epochs: int, stages: int) -> Rungs:
        """Rungs of a search.

        With `stages`, each end of a stage except the last is a rung. With `epochs` and `compute`, the first rung is at the
        grace and each further one at `reduction` times the one before; for a rung between two epochs, trials are compared
        after the later one.
        """
        unit = self.rungs
        if unit == "stages":
            if stages > 1:
                return Rungs(unit, tuple(range(1, stages)))
            unit = "epochs"
        in_compute = unit == "compute"
        first, last = (
            (self.grace_share or 0.1, 1.0) if in_compute else (self.grace_epochs or default_grace(epochs), epochs)
        )
        ladder = (first * self.reduction**k for k in itertools.count())
        return Rungs(unit, tuple(itertools.takewhile(lambda at: at <= last, ladder)))

    def stops(self, score: float, others: Sequence[float]) -> bool:
        import numpy as np  # settings are read without it

        return bool(others) and score < float(np.percentile(others, 100 * (1 - 1 / self.reduction)))


_GRACE: dict[Unit, str] = {"epochs": "grace_epochs", "compute": "grace_share"}


class Asha(Halving):
    """Asynchronous successive halving (Li et al. 2020): at each rung the worse trials stop."""

    kind: Literal["asha"] = "asha"
    reduction: float = Field(2, ge=1.05)
    """One in `reduction` trials passes a rung."""


class Hyperband(Halving):
    """Asynchronous Hyperband (Li et al. 2018, 2020): several brackets of rungs, each starting one rung later than the
    one before. A trial belongs to one of them, drawn by its number, and is compared within it."""

    kind: Literal["hyperband"]
    rungs: Unit = "epochs"
    reduction: float = Field(3, ge=1.05)
    """One in `reduction` trials passes a rung."""
    brackets: int = Field(3, ge=2)
    """Brackets; at most as many as there are rungs."""

    def brackets_of(self, rungs: int) -> int:
        return max(1, min(self.brackets, rungs))


class Median(Stopping):
    """The median stopping rule (Golovin et al. 2017): after each epoch a trial stops if its best score so far is worse
    than the median of the others' running means."""

    kind: Literal["median"]
    grace_epochs: int | None = Field(None, ge=1)
    """Epochs before a trial is compared; running means start there. By default 4, in shorter trials one less than they have."""
    min_trials: int = Field(3, ge=1)
    """Other trials that must have reached the epoch."""

    def place_rungs(self, *, epochs: int, stages: int) -> Rungs:  # noqa: ARG002
        """Rungs of a search: one after each epoch."""
        return Rungs("epochs", tuple(range(self.grace_epochs or default_grace(epochs), epochs + 1)))

    def stops(self, score: float, others: Sequence[float]) -> bool:
        import numpy as np  # settings are read without it

        return len(others) >= self.min_trials and score < float(np.median(others))


class Pbt(Comparing):
    """Population-based training (Jaderberg et al. 2017), asynchronous: every few epochs the worst trials stop, and new
    trials start from the best ones at that point, with slightly different values (`train.changes`)."""

    kind: Literal["pbt"]
    population: int = Field(8, ge=2)
    """Trials that start from scratch before the first one starts from another trial. At most as many train at once, and
    at each interval a trial is compared with as many latest ones."""
    every_epochs: int = Field(4, ge=1)
    """Epochs between two comparisons of a trial."""
    quantile: float = Field(0.25, gt=0, le=0.5)
    """Share of the population that stops; new trials start from the same share of the best."""
    resample: float = Field(0.25, ge=0, le=1)
    """Probability that a value is drawn again from its distribution; otherwise a number is multiplied by 0.8 or 1.2."""

    def stopping(self, trials: int) -> int:
        """Number of trials that are the worst, and the best, of this many."""
        return int(trials * self.quantile + 1e-9)

    def place_rungs(self, *, epochs: int, stages: int) -> Rungs:  # noqa: ARG002
        """Rungs of a search: one after each interval except the last."""
        return Rungs("epochs", tuple(range(self.every_epochs, epochs, self.every_epochs)))

    @property
    def why_pruned(self) -> str:
        return f"among the worst {self.quantile:.0%}"

    @property
    def most_at_once(self) -> int | None:
        return self.population

    @property
    def checkpoint_every_epochs(self) -> int | None:
        return self.every_epochs


class NoPruning(SchedulerSettings):
    """No pruning: every trial trains to its end."""

    kind: Literal["none"]

    def place_rungs(self, *, epochs: int, stages: int) -> Rungs:  # noqa: ARG002
        return Rungs()


Scheduler = Annotated[Asha | Hyperband | Median | Pbt | NoPruning, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class SchedulerSpec:
    """Declaration of a scheduler: what the rest of the project must know of it."""

    config: type[SchedulerSettings]
    """Its settings, a member of `Scheduler`."""
    build: str
    """`module:function` that builds it: (settings, `Setup`) -> Ray's `TrialScheduler`; see `search/tuning/schedulers.py`."""
    simulate: str | None
    """`module:function` that simulates a search with it: (settings, timelines of its trials, random numbers) -> seconds of all
    trials; see `search/preflight/forecast.py`. None: every trial trains to its end."""
    first_rung: str | None
    """Setting that places the first rung; None: it has no rungs."""
    forks: bool = False
    """True if it starts trials from others, as population-based training does."""

    @property
    def kind(self) -> str:
        """`search.scheduler.kind`."""
        kind: str = get_args(self.config.model_fields["kind"].annotation)[0]
        return kind


SCHEDULERS = (
    SchedulerSpec(
        config=Asha,
        build="search.tuning.schedulers:HalvingScheduler",
        simulate="search.preflight.forecast:seconds_of_stopping",
        first_rung="grace_epochs",
    ),
    SchedulerSpec(
        config=Hyperband,
        build="search.tuning.schedulers:HalvingScheduler",
        simulate="search.preflight.forecast:seconds_of_stopping",
        first_rung="grace_epochs",
    ),
    SchedulerSpec(
        config=Median,
        build="search.tuning.schedulers:MedianScheduler",
        simulate="search.preflight.forecast:seconds_of_stopping",
        first_rung="grace_epochs",
    ),
    SchedulerSpec(
        config=Pbt,
        build="search.tuning.schedulers:PopulationScheduler",
        simulate="search.preflight.forecast:seconds_of_population",
        first_rung="every_epochs",
        forks=True,
    ),
    SchedulerSpec(config=NoPruning, build="search.tuning.schedulers:build_no_pruning", simulate=None, first_rung=None),
)
"""Every scheduler. A new one is a config class, its name in `Scheduler`, a line here, and a class that decides in a search."""

_BY_CONFIG = {spec.config: spec for spec in SCHEDULERS}


def scheduler_spec(scheduler: SchedulerSettings) -> SchedulerSpec:
    """Declaration of the scheduler that a search names."""
    return _BY_CONFIG[type(scheduler)]
