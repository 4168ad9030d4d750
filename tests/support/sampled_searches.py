"""Searches that propose without training: small spaces, an example of each sampler, and the points of a whole search."""

import copy

import yaml

from search.config.yaml_source import read_source
from search.config_file.load import load_search
from tests.support.driven_search import Search
from tests.support.recipes import RECIPE

CONDITIONAL = {
    "train.stages[*].head_lr": {"log": [1e-3, 0.3]},
    "train.batch_size": {"int": [8, 64]},
    "train.loss.kind": {"choice": ["cross_entropy", "ldam"]},
    "train.loss.max_margin": {"float": [0.2, 0.8], "when": {"train.loss.kind": "ldam"}},
}
NUMBERS = {
    "train.stages[*].head_lr": {"log": [1e-3, 0.3]},
    "train.batch_size": {"int": [8, 64]},
    "train.ema.decay": {"one_minus_log": [0.9, 0.999]},
}
COUNTABLE = {
    "train.loss.kind": {"choice": ["cross_entropy", "ldam"]},
    "train.loss.max_margin": {"float": [0.2, 0.8], "step": 0.2, "when": {"train.loss.kind": "ldam"}},
    "train.batch_size": {"int": [16, 64], "step": 16},
}
CHOICES = {"train.loss.kind": {"choice": ["cross_entropy", "ldam"]}}
EXAMPLES = {
    "tpe": ({"startup_trials": 4}, CONDITIONAL),
    "gp": ({"startup_trials": 4}, NUMBERS),
    "cma_es": ({"population": 4}, NUMBERS),
    "qmc": ({}, CONDITIONAL),
    "random": ({}, CONDITIONAL),
    "grid": ({}, COUNTABLE),
    "nsga2": ({"population": 4}, CONDITIONAL),
}
"""Kind of sampler -> its settings, and a space that it fits."""


def load_space(folder, space=NUMBERS, *, metric="balanced_accuracy", **search):
    """A search of a space, read from a file in this folder."""
    data = copy.deepcopy(RECIPE)
    data["train"]["metric"] = metric
    data |= {"space": space, "search": {"trials": 12, "scheduler": {"kind": "none"}, **search}}
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(data))
    return load_search(read_source(file))


def score_of(params):
    """Best with batches of 32 images and fast heads."""
    return 1 - abs(params["train.batch_size"] - 32) / 64 + params.get("train.stages[*].head_lr", 0)


def proposals(folder, config, *, killed_every=1000, at_once=1):
    """The points of all trials; every third one is pruned, some drivers are killed in the middle of a trial."""
    search, seen, running = Search(folder, config), {}, []
    number = 0
    while number < config.settings.trials or running:
        while len(running) < at_once and number < config.settings.trials:
            search.suggest(str(number))
            running.append(number)
            number += 1
        ended = running.pop(0)
        if ended % killed_every == killed_every - 1:
            search.take_up()
            for taken_up in (ended, *running):
                search.suggest(str(taken_up))
        seen[ended] = search.record(ended).params
        search.run(str(ended), [score_of(seen[ended])], finished=ended % 3 != 2)
    return [seen[number] for number in sorted(seen)]
