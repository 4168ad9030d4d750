"""Loads a recipe or a search from a YAML file, or reports all its mistakes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from search.config.search_config import SearchConfig, SearchSettings, checked_name
from search.config.yaml_source import InputError, Source
from search.config_file.check_proposals import proposal_problems
from search.config_file.check_space import presets_for_another_task, space_problems
from search.config_file.check_unused import unused_in_recipe, unused_in_search
from search.tuning.enqueued_trials import with_points
from spaces.parser import parse_space
from spaces.space import FunctionSpace, SpaceError, SpaceProblem
from trainables.core.config_errors import Config, ConfigError, Problem, misread_numbers, problems_of, right_key, shown
from trainables.core.own_code import ADVICE, is_trusted, refusal, trust, trust_all
from trainables.core.vocabulary import Flag
from trainables.recipe.backbone_catalog import is_custom
from trainables.recipe.recipe import Recipe, parse_recipe, redundant_stages
from trainables.storage.urls import is_url

RECIPE_KEYS = ("data", "model", "train")
OF_A_SEARCH = ("space", "search", "ablate")


def load_recipe(source: Source) -> Recipe:
    """Loads the recipe of a file for `thaw train`: of a search file its own values. All other sections are ignored.

    A file with `provenance` is an exported config: its code is not trusted.

    Raises:
        InputError: with all mistakes.
    """
    others = ("provenance", *OF_A_SEARCH)
    data = {key: value for key, value in source.data.items() if key not in others}
    if typed := [place for place in source.overrides if place[0] in OF_A_SEARCH]:
        raise InputError(
            source.describe([Problem(place, "has no effect on a single run; remove it") for place in typed])
        )
    exported = "provenance" in source.data
    if not exported or any(place == ("model", "backbone")[: len(place)] for place in source.overrides):
        _trust(source)
    problems: list[Problem] = []
    if not isinstance(source.data.get("provenance", {}), dict):
        problems.append(Problem(("provenance",), "is not what `thaw export` wrote; remove it"))
    try:
        recipe = _with_absolute_paths(parse_recipe(data))
        # A trial's stages may be alike, and an exported config must train what its trial did.
        several = exported or is_search(source)
        problems += ([] if several else redundant_stages([recipe])) or unused_in_recipe(recipe, source)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise InputError(source.describe(problems))
    return recipe


def is_search(source: Source) -> bool:
    """True if a file is a search: it says more than what one run trains."""
    return "space" in source.data or "search" in source.data


def _with_absolute_paths(recipe: Recipe) -> Recipe:
    """Makes paths absolute: workers, and later training of an exported config, run in other folders."""
    data, model = recipe.data, recipe.model
    for field, path in (("path", data.path), ("images", data.images)):
        if path is not None and not is_url(path):
            data = data.model_copy(update={field: _absolute(path, ("data", field))})
    if model.names_a_file:
        model = model.model_copy(update={"weights": _absolute(model.weights, ("model", "weights"))})
    return recipe.model_copy(update={"data": data, "model": model})


def _absolute(path: str, place: tuple[str, str]) -> str:
    """Absolute path of what the user wrote.

    Raises:
        ConfigError: if it cannot be one.
    """
    if "\0" in path:
        raise ConfigError([Problem(place, f"{shown(path)}: a path cannot contain the character NUL")])
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:
        user = path.partition("/")[0]
        message = f"{shown(path)}: {shown(user)} is not the home of a user; write ./~… for a file"
        raise ConfigError([Problem(place, message)]) from None


def load_search(source: Source, *, own: bool = True) -> SearchConfig:
    """Loads the search of a file.

    Args:
        source: the file.
        own: True for a file that the user wrote, whose code is trusted and whose settings must have an effect; False for that in a
            run's folder.
    Raises:
        InputError: with all mistakes.
    """
    data, space = source.data, None
    if own:
        _trust(source)
    settings, recipe, problems = _settings_and_recipe(source)
    try:
        if "space" not in data:
            raise SpaceError([])
        if (function := _function_of(data["space"])) and not is_trusted(function):
            raise SpaceError([SpaceProblem(("python",), refusal(function))])
        space = parse_space(data["space"])
        if isinstance(space, FunctionSpace):
            trust_all()  # the function runs anyway, and may draw networks that nothing names
    except SpaceError as error:
        problems += [Problem(("space", *p.path), p.message) for p in error.problems]
        if "space" not in data:
            problems.append(
                Problem(("space",), "is required: what the search varies, or a preset's name such as unfreezing")
            )
    name = (settings and settings.name) or source.file.stem
    try:
        checked_name(name)
    except ValueError as error:
        problems.append(Problem(("search", "name"), f"{error}; without it, the name of the file is used"))
    if recipe and space:
        config = SearchConfig(name, recipe, space, settings or SearchSettings())
        problems += presets_for_another_task(data["space"], config) or space_problems(config)
        if not problems:
            config, problems = with_points(config)
            problems += proposal_problems(config)
            problems = problems or (unused_in_search(config, source) if own else [])
        if not problems:
            return config
    raise InputError(source.describe(problems))


def check_command(config: SearchConfig, source: Source) -> None:
    """Checks that a search of a run's folder may run its `search.on_finish`.

    Raises:
        InputError: if code of the folder is not trusted.
    """
    command = config.settings.on_finish
    if command and not is_trusted("search.on_finish"):
        message = f"runs a command, {shlex.join(command)}; {ADVICE}"
        raise InputError(source.describe([Problem(("search", "on_finish"), message)]))


class TrustFlags(NamedTuple):
    """Option that commands on a run need to run the code that its search names; empty where they run none."""

    train: str
    confirm: str
    resume: str


def trust_flags(config: SearchConfig) -> TrustFlags:
    """Flags for the run of a search."""
    network = any(is_custom(recipe.model.backbone) for recipe in config.corner_recipes())
    space = network or isinstance(config.space, FunctionSpace)
    needed = (network, space, space or config.settings.on_finish is not None)
    return TrustFlags(*(" --trust-code" if each else "" for each in needed))


def _trust(source: Source) -> None:
    """Trusts the code that a file names: for its network, as one of the networks that it searches, and for its space."""
    model, space = (
        section if isinstance(section, dict) else {} for section in map(source.data.get, ("model", "space"))
    )
    ablated = [*_changed_backbones(source.data.get("ablate"))]
    trust(
        [*_texts(model.get("backbone")), *_texts(space.get("model.backbone")), *_texts(_function_of(space)), *ablated]
    )


def _changed_backbones(ablate: Any) -> Iterator[str]:
    changes = ablate.get("changes") if isinstance(ablate, dict) else None
    for change in changes.values() if isinstance(changes, dict) else ():
        yield from _texts(change.get("model.backbone") if isinstance(change, dict) else None)


def _texts(value: Any) -> Iterator[str]:
    """Yields the texts in a value, at any depth."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(inner)


def _function_of(space: Any) -> str | None:
    function = space.get("python") if isinstance(space, dict) else None
    return function if isinstance(function, str) else None


def load_ablated(source: Source) -> tuple[Recipe, SearchSettings]:
    """Loads the recipe and the settings for `thaw ablate`; the file's `space` is ignored.

    Raises:
        InputError: with all mistakes except those of `ablate`.
    """
    _trust(source)
    settings, recipe, problems = _settings_and_recipe(source)
    if problems or settings is None or recipe is None:
        raise InputError(source.describe(problems))
    return recipe, settings


def _settings_and_recipe(source: Source) -> tuple[SearchSettings | None, Recipe | None, list[Problem]]:
    """Settings and recipe of a search file, and their problems."""
    data = source.data
    if "comparison" in data:
        raise InputError(
            f"{source.file} belongs to a comparison: the same `thaw confirm` or `thaw ablate` command resumes it"
        )
    known = (*RECIPE_KEYS, *OF_A_SEARCH)
    homes: dict[str, type[Config]] = {"": Recipe, "search.": SearchSettings}
    problems = [Problem((key,), f"unknown key; {right_key((key,), known, homes)}") for key in data if key not in known]
    recipe = settings = None
    try:
        settings = SearchSettings.model_validate({} if data.get("search") is None else data["search"])
        problems += [Problem(("search", *p.path), p.message) for p in misread_numbers(settings, data.get("search"))]
    except ValidationError as error:
        found = problems_of(error, SearchSettings, data["search"])
        problems += [Problem(("search", *problem.path), _hint(problem)) for problem in found]
    try:
        given = {key: data[key] for key in RECIPE_KEYS if key in data}
        recipe = _with_absolute_paths(parse_recipe(_with_defaults_of_search(given, settings)))
    except ConfigError as error:
        problems += error.problems
    return settings, recipe, problems


def _hint(problem: Problem) -> str:
    if problem.path[-1:] in {("metric",), ("mode",)}:
        return "belongs to `train`: set train.metric, which also determines whether higher or lower is better"
    if problem.path == ("stop", "trials"):
        return "belongs to `search`: set search.trials"
    return problem.message


STOP_ON = (Flag.NAN, Flag.COLLAPSE)
"""Flags that end a trial if `train.stop_on` is not given: a search need not wait for a collapsed network to recover."""


def _with_defaults_of_search(data: dict[str, Any], settings: SearchSettings | None) -> dict[str, Any]:
    """Fills in defaults for trials: as many threads as cores, and an early end of collapsed trials."""
    train = data.get("train")
    if settings is None or not isinstance(train, dict):
        return data
    threads = max(1, int(settings.resources.cpus))
    train = {"cpu_threads": threads, "stop_on": [flag.value for flag in STOP_ON], **train}
    checkpoints = train.get("checkpoints") or {}
    every = settings.scheduler.checkpoint_every_epochs
    if every and isinstance(checkpoints, dict):
        # A child starts from a trial where it was compared, perhaps long after.
        train["checkpoints"] = {"keep_every_epochs": every, **checkpoints}
    return {**data, "train": train}
