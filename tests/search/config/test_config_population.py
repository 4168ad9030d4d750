"""A search file that asks for population-based training: what it must and cannot have, and what follows from it."""

import re

import pytest

from tests.support import search_files
from tests.support.search_files import FILE

write, load, mistakes, functions = (  # fixtures
    search_files.write,
    search_files.load,
    search_files.mistakes,
    search_files.functions,
)

PBT = "search.scheduler={kind: pbt}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["search.objectives=[score, macs]"],
            "scheduler.kind: pbt starts trials from those with the best score, and ignores macs;",
        ),
        (
            ["search.constraints={macs: {max: 1e9}}"],
            "scheduler.kind: pbt starts trials from those with the best score, and ignores",
        ),
        (
            ["search.sampler={kind: cma_es}"],
            "sampler.kind: cma_es must propose every trial, and pbt starts some from others;",
        ),
        (
            ["space={train.batch_size: {int: [8, 64]}}"],
            r"scheduler.kind: pbt: none of the searched values \(train.batch_size\) can",
        ),
        (
            ["space={python: 'my_functions:batch'}"],
            "scheduler.kind: pbt must know which values it can change, and my_functions:",
        ),
        (["search.scheduler.every_epochs=16"], "scheduler.every_epochs: 16: no trial has more than 16 epochs, so none"),
        (["search.scheduler.quantile=0.6"], "scheduler.quantile: 0.6: input should be at most 0.5"),
    ],
)
def test_a_search_that_has_no_population_is_a_mistake(mistakes, functions, overrides, message):
    (line,) = mistakes(FILE, PBT, *overrides)
    assert re.search(f"search.{message}", line)


@pytest.mark.parametrize(
    ("overrides", "kept", "at_once"),
    [
        ([PBT], 4, 8),
        (["search.scheduler={kind: pbt, every_epochs: 3, population: 6}", "search.max_concurrent=4"], 3, 4),
        ([PBT, "train.checkpoints.keep_every_epochs=2", "search.max_concurrent=20"], 2, 8),
        ([PBT, "train.checkpoints.keep_last=5"], 4, 8),
        ([], None, None),
    ],
)
def test_a_population_keeps_checkpoints_to_go_on_from_and_limits_trials_at_once(load, overrides, kept, at_once):
    config = load(FILE, *overrides)
    assert config.recipe.train.checkpoints.keep_every_epochs == kept
    assert config.settings.most_at_once == at_once
