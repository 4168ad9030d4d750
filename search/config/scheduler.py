"""`search.scheduler`: rule that decides which trials continue. Plain data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainables.core.config_errors import Config
from trainables.core.rungs import Unit


class _Comparing(Config):
    """Settings of all schedulers that compare trials."""

    before_drw: Literal["corrected", "wait", "score"] = "corrected"
    """Score of a trial that re-weights later (`train.drw`), until its effect has settled. `corrected`: its best score so
    far with the learned class shares divided out, which is close to what re-weighting will achieve. `wait`: it is not
    compared with others. `score`: its best score so far, as for all other trials."""


class _Halving(_Comparing):
    """Settings of rungs at which only the best trials continue."""

    rungs: Unit = "stages"
    """Unit of the rungs. `stages`: each end of a stage is a rung, and the best trials enter the next stage (epochs if
    no trial has a second stage). `epochs`: each rung is at `reduction` times the epochs of the one before. `compute`:
    the same for the share of a trial's own planned compute (trained parameters × training images), so that a head alone
    is not compared with a trained backbone."""
    grace_epochs: int | None = Field(None, ge=1)
    """Epochs before the first rung; implies `rungs: epochs`. By default 4."""
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
    """Asynchronous Hyperband (Li et al. 2018, 2020): several brackets of rungs, each starting one rung later than the
    one before. A trial belongs to one of them, drawn by its number, and is compared within it."""

    kind: Literal["hyperband"]
    rungs: Unit = "epochs"
    reduction: float = Field(3, gt=1)
    """One in `reduction` trials passes a rung."""
    brackets: int = Field(3, ge=2)
    """Brackets; at most as many as there are rungs."""


class Median(_Comparing):
    """The median stopping rule (Golovin et al. 2017): after each epoch a trial stops if its best score so far is worse
    than the median of the others' running means."""

    kind: Literal["median"]
    grace_epochs: int = Field(4, ge=1)
    """Epochs before a trial is compared; running means start there."""
    min_trials: int = Field(3, ge=1)
    """Other trials that must have reached the epoch."""


class Pbt(_Comparing):
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


class NoPruning(Config):
    """No pruning: every trial trains to its end."""

    kind: Literal["none"]


Scheduler = Annotated[Asha | Hyperband | Median | Pbt | NoPruning, Field(discriminator="kind")]
