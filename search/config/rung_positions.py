"""Rungs of a search, at which trials are compared. Plain numbers, known without Ray."""

from __future__ import annotations

from search.config.search_config import SearchConfig, longest_run
from trainables.core.rungs import Rungs


def rungs_of(config: SearchConfig) -> Rungs:
    """Rungs of a search."""
    stages = max(len(recipe.train.stages) for recipe in config.corner_recipes())
    return config.settings.scheduler.place_rungs(epochs=longest_run(config), stages=stages)
