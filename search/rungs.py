"""Where trials are judged. Plain numbers: known without Ray."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from search.scheduler_config import Asha, Hyperband, Median, Scheduler
from trainables.rungs import Rungs


@dataclass(frozen=True, kw_only=True)
class Longest:
    """The most that any trial may come to."""

    epochs: int
    stages: int
    compute: float


def rungs(scheduler: Scheduler, longest: Longest) -> Rungs:
    """The rungs of a search; none where nobody is pruned.

    Of `epochs` and `compute` the first is the grace, and each is `reduction` times the one before. A rung between two epochs is
    judged at the later one. The median rule judges after each epoch.
    """
    if isinstance(scheduler, Median):
        return Rungs("epochs", tuple(range(scheduler.grace_epochs, longest.epochs + 1)))
    if not isinstance(scheduler, Asha | Hyperband):
        return Rungs()
    if scheduler.rungs == "stages":
        return Rungs("stages", tuple(range(1, longest.stages)))
    if scheduler.rungs == "compute":
        first, last = scheduler.grace_share * longest.compute, longest.compute
    else:
        first, last = scheduler.grace_epochs, float(longest.epochs)
    return Rungs(scheduler.rungs, tuple(itertools.takewhile(lambda at: at <= last, _ladder(first, scheduler.reduction))))


def _ladder(first: float, reduction: float) -> Iterator[float]:
    return (first * reduction**k for k in itertools.count())
