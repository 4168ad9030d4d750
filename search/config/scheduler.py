"""`search.scheduler`: which trials go on. Plain data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainables.core.config_errors import Config
from trainables.core.rungs import Unit


class _Judging(Config):
    """How trials are compared, whoever compares them."""

    before_drw: Literal["corrected", "wait", "score"] = "corrected"
    """What a trial that re-weights later (`train.drw`) is judged by until that has settled. `corrected`: its best score so far with
    the class shares that training taught divided out, which is near what re-weighting will do. `wait`: it is not judged, and nobody
    is compared with it. `score`: its best score so far, as after that, and as for all other trials."""


class _Halving(_Judging):
    """Rungs at which only the best go on."""

    rungs: Unit = "stages"
    """What is counted. `stages`: a rung is the end of a stage, and the best go deeper (epochs where no trial has a second stage).
    `epochs`: each rung is `reduction` times the one before. `compute`: the same for a trial's share of its own planned compute
    (trained parameters × training images), so that a head alone is not compared with one whose backbone has trained."""
    grace_epochs: int | None = Field(None, ge=1)
    """Epochs before the first rung, where epochs are counted; 4 if nothing is said. Giving it means `rungs: epochs`."""
    grace_share: float | None = Field(None, gt=0, le=1)
    """The first rung where compute is counted; 0.1 if nothing is said. Giving it means `rungs: compute`."""

    @model_validator(mode="before")
    @classmethod
    def _grace_names_its_unit(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("rungs") is not None:
            return data
        given = [unit for unit, field in _GRACE.items() if data.get(field) is not None]
        return {**data, "rungs": given[0]} if len(given) == 1 else data

    @model_validator(mode="after")
    def _grace_fits_its_unit(self) -> _Halving:
        for unit, field in _GRACE.items():
            if getattr(self, field) is not None and self.rungs != unit:
                raise ValueError(
                    f"{field} counts {unit}, and rungs are in {self.rungs}; remove it, or set rungs: {unit}"
                )
        return self


_GRACE: dict[Unit, str] = {"epochs": "grace_epochs", "compute": "grace_share"}


class Asha(_Halving):
    """Asynchronous successive halving (Li et al. 2020): at each rung the worse trials stop."""

    kind: Literal["asha"] = "asha"
    reduction: float = Field(2, gt=1)
    """One in `reduction` trials passes a rung."""


class Hyperband(_Halving):
    """Asynchronous Hyperband (Li et al. 2018, 2020): several such ladders, each beginning a rung later than the one before. A trial
    belongs to one of them, drawn by its number, and is compared within it."""

    kind: Literal["hyperband"]
    rungs: Unit = "epochs"
    reduction: float = Field(3, gt=1)
    """One in `reduction` trials passes a rung."""
    brackets: int = Field(3, ge=2)
    """Ladders; no more than there are rungs are made."""


class Median(_Judging):
    """The median stopping rule (Golovin et al. 2017): after each epoch a trial stops whose best so far is worse than the median of
    the others' running means."""

    kind: Literal["median"]
    grace_epochs: int = Field(4, ge=1)
    """Epochs before a trial is judged; means begin there."""
    min_trials: int = Field(3, ge=1)
    """Other trials that must have come as far."""


class Pbt(_Judging):
    """Population-based training (Jaderberg et al. 2017), asynchronous: every few epochs the worst stop, and others go on from where
    the best were then, with values that are somewhat different (`train.changes`). Each is a trial of its own."""

    kind: Literal["pbt"]
    population: int = Field(8, ge=2)
    """Trials that are proposed before the first goes on from another one; no more train at once, and at each interval a trial is
    compared with the last so many that came there."""
    every_epochs: int = Field(4, ge=1)
    """Epochs between two looks at a trial."""
    quantile: float = Field(0.25, gt=0, le=0.5)
    """Share of the population that stops; whose places are taken from as many of the best."""
    resample: float = Field(0.25, ge=0, le=1)
    """Probability that a value is drawn anew from its distribution; else a number is multiplied by 0.8 or 1.2."""

    def stopping(self, trials: int) -> int:
        """How many of so many are the worst, and the best."""
        return int(trials * self.quantile + 1e-9)


class NoPruning(Config):
    kind: Literal["none"]


Scheduler = Annotated[Asha | Hyperband | Median | Pbt | NoPruning, Field(discriminator="kind")]
