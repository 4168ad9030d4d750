"""Rungs of a search, at which trials are compared. Plain numbers, known without Ray."""

from __future__ import annotations

import itertools

from search.config.scheduler import Asha, Hyperband, Median, Pbt, Scheduler
from search.config.search_config import SearchConfig, longest_run
from trainables.core.rungs import Rungs


def rungs_of(config: SearchConfig) -> Rungs:
    """Rungs of a search."""
    stages = max(len(recipe.train.stages) for recipe in config.corner_recipes())
    return rungs(config.settings.scheduler, epochs=longest_run(config), stages=stages)


def rungs(scheduler: Scheduler, *, epochs: int, stages: int) -> Rungs:
    """Rungs of a search; none if nothing is pruned.

    With `stages`, each end of a stage except the last is a rung. With `epochs` and `compute`, the first rung is at the
    grace and each further one at `reduction` times the one before; for a rung between two epochs, trials are compared
    after the later one. The median rule compares after each epoch, population-based training after each interval except
    the last.

    Args:
        scheduler: settings of the scheduler.
        epochs: epochs of the longest trial.
        stages: stages of the longest trial.
    """
    if isinstance(scheduler, Median):
        return Rungs("epochs", tuple(range(scheduler.grace_epochs, epochs + 1)))
    if isinstance(scheduler, Pbt):
        return Rungs("epochs", tuple(range(scheduler.every_epochs, epochs, scheduler.every_epochs)))
    if not isinstance(scheduler, Asha | Hyperband):
        return Rungs()
    unit = scheduler.rungs
    if unit == "stages":
        if stages > 1:
            return Rungs(unit, tuple(range(1, stages)))
        unit = "epochs"
    first, last = (scheduler.grace_share or 0.1, 1.0) if unit == "compute" else (scheduler.grace_epochs or 4, epochs)
    ladder = (first * scheduler.reduction**k for k in itertools.count())
    return Rungs(unit, tuple(itertools.takewhile(lambda at: at <= last, ladder)))
