"""The rungs of successive halving. Plain numbers: known without Ray."""

from __future__ import annotations

import itertools
import math

from search.scheduler_config import Asha, NoPruning


def rungs(scheduler: Asha | NoPruning, *, max_epochs: int) -> list[int]:
    """Epochs after which trials of at most `max_epochs` are compared: the grace, and each `reduction` times the one before.

    A rung between two epochs is judged at the later one.
    """
    if not isinstance(scheduler, Asha):
        return []
    milestones = (scheduler.grace_epochs * scheduler.reduction**k for k in itertools.count())
    return [math.ceil(milestone) for milestone in itertools.takewhile(lambda m: m <= max_epochs, milestones)]
