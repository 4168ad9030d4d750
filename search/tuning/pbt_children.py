"""Children in population-based training: the values they continue with, and recipes that record how their weights were
trained."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.config.search_config import SearchConfig
from spaces.space import Space
from trainables.core.dotted_paths import resolve
from trainables.recipe.recipe import Recipe, parse_recipe
from trainables.recipe.scheduled_changes import fixed_reason
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import Parent, TrialRecord, read_record

_FACTORS = (0.8, 1.2)


def changing_paths(space: Space, values: Mapping[str, Any], recipe: Recipe, *, stage: int = 0) -> list[str]:
    """Paths of values that a child of a trial can change: those that may change during training, and on which no
    condition depends.

    Args:
        space: the search space.
        values: values of the trial, by path.
        recipe: recipe of the trial.
        stage: position of the stage in which the child starts; the stages before it are done.
    """
    data = recipe.model_dump(mode="json")
    deciding = {path for parameter in space.parameters.values() for path in parameter.when}
    open_ones = [path for path in values if path not in deciding and len(space.parameters[path].extremes()) > 1]
    return [path for path in open_ones if fixed_reason(path, data) is None and not _is_over(path, data, stage)]


def _is_over(path: str, data: Mapping[str, Any], stage: int) -> bool:
    """True if a path leads only to stages before this one."""
    return all(place[:2] == ("train", "stages") and int(place[2]) < stage for place in resolve(path, data))


def explored(
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    *,
    changing: Collection[str],
    resample: float,
    random: np.random.RandomState,
) -> dict[str, Any]:
    """Parameters of a child: its parent's, some of them drawn again or multiplied by 0.8 or 1.2 within their bounds.
    Choices are drawn again or stay. At least one parameter changes.

    Args:
        params: the parent's, by their names in the study.
        distributions: distributions of the parameters.
        changing: names of the parameters that may change; at least one.
        resample: probability that a parameter is drawn again.
        random: source of the draws.
    """
    found, names = dict(params), sorted(changing)
    for name in names:
        if random.random_sample() < resample:
            found[name] = _drawn(name, distributions[name], random)
        else:
            found[name] = _moved(params[name], distributions[name], _FACTORS[random.randint(2)])
    last = names[random.randint(len(names))]
    while found == params:  # a copy of its parent would teach nothing
        found[last] = _drawn(last, distributions[last], random)
    return found


def _drawn(name: str, distribution: BaseDistribution, random: np.random.RandomState) -> Any:
    transform = _SearchSpaceTransform({name: distribution})
    return transform.untransform(random.uniform(transform.bounds[:, 0], transform.bounds[:, 1]))[name]


def _moved(value: Any, distribution: BaseDistribution, factor: float) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return value
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    moved = value * factor
    if step is not None:
        before, after = round((value - low) / step), round((moved - low) / step)
        if after == before:  # at least one step
            after += 1 if factor > 1 else -1
        moved = low + after * step
    kind = int if isinstance(distribution, IntDistribution) else float
    return kind(min(max(moved, low), high))


def child_recipe(parent: Recipe, after_epoch: int, values: Mapping[str, Any]) -> Recipe:
    """Recipe that equals its parent's up to an epoch, and continues with other values.

    Args:
        parent: recipe of the parent.
        after_epoch: last epoch with the parent's values.
        values: recipe path -> new value.
    Raises:
        ConfigError: if they do not fit together.
    """
    data = parent.model_dump(mode="json")
    changes = {change["after_epoch"]: change["set"] for change in data["train"]["changes"]}
    changes[after_epoch] = {**changes.get(after_epoch, {}), **values}
    data["train"]["changes"] = [{"after_epoch": epoch, "set": changes[epoch]} for epoch in sorted(changes)]
    return parse_recipe(data)


def recipe_of(record: TrialRecord, config: SearchConfig, layout: RunLayout) -> Recipe:
    """Recipe of a trial, from its record and those of its ancestors.

    Args:
        record: record of the trial.
        config: the search.
        layout: its run folder.
    Raises:
        ConfigError: if its values do not fit together.
    """
    if record.parent is None:
        return config.recipe_of(record.params)
    return recipe_of_child(record.params, record.parent, config, layout)


def recipe_of_child(values: Mapping[str, Any], parent: Parent, config: SearchConfig, layout: RunLayout) -> Recipe:
    """Recipe of a trial that starts from another one; see `recipe_of`.

    Args:
        values: values of the trial, by path.
        parent: trial that it starts from.
        config: the search.
        layout: its run folder.
    """
    before = read_record(layout.trial(parent.trial))
    recipe = recipe_of(before, config, layout)
    changing = changing_paths(config.space, before.params, recipe, stage=parent.stage)
    return child_recipe(recipe, parent.epoch, config.space.recipe_values({path: values[path] for path in changing}))
