"""Where trials are judged. Plain numbers: known without Ray."""

from __future__ import annotations

import itertools

from search.config.scheduler import Asha, Hyperband, Median, Pbt, Scheduler
from search.config.search_config import SearchConfig, longest_run
from trainables.core.rungs import Rungs


def rungs_of(config: SearchConfig) -> Rungs:
    """Where the trials of a search are judged."""
    stages = max(len(recipe.train.stages) for recipe in config.corner_recipes())
    return rungs(config.settings.scheduler, epochs=longest_run(config), stages=stages)


def rungs(scheduler: Scheduler, *, epochs: int, stages: int) -> Rungs:
    """The rungs of a search; none where nobody is pruned.

    Those of `stages` are their ends, but for the last. Of `epochs` and `compute` the first is the grace, and each is `reduction`
    times the one before; a rung between two epochs is judged at the later one. The median rule judges after each epoch,
    population-based training at each interval but the end.

    Args:
        epochs, stages: of the longest trial.
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
