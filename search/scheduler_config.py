"""`search.scheduler`: which trials go on. Plain data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainables.problems import Config
from trainables.rungs import Unit


class _Judging(Config):
    """How trials are compared, whoever compares them."""

    before_drw: Literal["score", "corrected", "wait"] = "corrected"
    """What a trial that re-weights later (`train.drw`) is judged by until that has settled. `score`: its best score so far, like all
    others. `corrected`: the same with the class shares that training taught divided out (`trainables/prior.py`), which is about
    what re-weighting will do. `wait`: it is not judged, and others are not compared with it."""


class _Halving(_Judging):
    """Rungs at which only the best go on."""

    rungs: Unit = "epochs"
    """What is counted. `epochs`; `compute`: trained parameters × training images, so that a trial with its head alone is not
    compared with one that has paid for its backbone; `stages`: a rung is the end of a stage, and the best go deeper."""
    grace_epochs: int = Field(4, ge=1)
    """`rungs: epochs`: epochs before the first rung."""
    grace_share: float = Field(0.1, gt=0, le=1)
    """`rungs: compute`: the first rung, as a share of what the longest trial spends."""
    reduction: float = Field(3, gt=1)
    """One in `reduction` trials passes a rung; rungs are this factor apart (those of `stages` are where stages end)."""


class Asha(_Halving):
    """Asynchronous successive halving (Li et al. 2020): at each rung the worse trials stop."""

    kind: Literal["asha"] = "asha"


class Hyperband(_Halving):
    """Asynchronous Hyperband (Li et al. 2018, 2020): several such ladders, each beginning a rung later than the one before. A trial
    belongs to one of them, drawn by its number, and is compared within it."""

    kind: Literal["hyperband"]
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


class NoPruning(Config):
    kind: Literal["none"]


Scheduler = Annotated[Asha | Hyperband | Median | NoPruning, Field(discriminator="kind")]
