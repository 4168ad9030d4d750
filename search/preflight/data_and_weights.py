"""Checks of the data and the weights, before Ray starts and a trial meets a problem."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from search.config.yaml_source import InputError, Source
from search.preflight.same_origin import EarlierRuns
from search.progress.progress_bar import bar
from search.progress.terminal import Console
from trainables.core.config_errors import ConfigError, Problem
from trainables.core.deferred_interrupt import deferred_interrupt
from trainables.core.dotted_paths import resolve
from trainables.data.dataset import Dataset, open_dataset
from trainables.data.pixel_doubts import pixel_doubts
from trainables.recipe.data_config import DataConfig
from trainables.recipe.recipe import Recipe, channel_problems
from trainables.recipe.rules.imbalance_rules import class_weight_problems


def check_data_and_weights(
    recipes: Sequence[Recipe],
    source: Source,
    console: Console,
    *,
    earlier: Sequence[EarlierRuns] = (),
    here: bool = True,
    meanwhile: Callable[[], None] | None = None,
    with_warnings: bool = True,
) -> Dataset:
    """Checks that some recipes can be trained: opens their data and weights, looks at device and batches, prints a summary.

    Args:
        recipes: the recipes.
        source: their file, for the places of mistakes.
        console: shows the progress and the summary.
        earlier: training runs that must have had the same data and weights.
        here: True if the recipes are trained on this machine.
        meanwhile: called when the data are open, to start something else while the weights are checked, which takes
            seconds.
        with_warnings: print warnings about the data.
    Returns:
        The data of the first recipe.
    Raises:
        InputError: with the problems of the data and the weights.
    """
    datasets: dict[DataConfig, Dataset] = {}
    try:
        for data in dict.fromkeys(recipe.data for recipe in recipes):
            sizes = {size for recipe in recipes if recipe.data == data for size in recipe.image_sizes}
            datasets[data] = _open_showing_progress(data, sizes, console)
        for runs in earlier:
            runs.check_data(datasets)
        if meanwhile:
            meanwhile()
        with deferred_interrupt():  # torch takes longer to import than most mistakes take to find
            from search.preflight.training_check import training_problems, training_warnings
            from trainables.models.build_model import check_model
            from trainables.models.compilation import check_compiler
            from trainables.models.precision import device_of

        for recipe in recipes:
            dataset = datasets[recipe.data]
            problems = channel_problems(recipe, dataset.images.shape[-1])
            if problems := problems + class_weight_problems(recipe.train, dataset.classes):
                raise ConfigError(problems)
        models = dict.fromkeys((r.model, r.data.image_size, r.data.depth) for r in recipes)
        weights = {model: check_model(model, image_size=size, depth=depth) for model, size, depth in models}
        for runs in earlier:
            runs.check_weights({model: found and found.fingerprint for model, found in weights.items()})
        untrainable = [list(training_problems(recipe, datasets[recipe.data], here=here)) for recipe in recipes]
        if any(untrainable):
            raise ConfigError(_at_searched_values(untrainable, recipes[0], source))
        compiled = next((recipe for recipe in recipes if recipe.train.compile), None)
        if compiled:
            check_compiler(device_of(compiled))
    except ConfigError as error:
        raise InputError(source.describe(error.problems)) from None
    found = (line for data, dataset in datasets.items() for line in data_warnings(dataset, data))
    of_data = dict.fromkeys(found) if with_warnings else ()
    for line in (*of_data, *training_warnings(recipes, datasets[recipes[0].data])):
        console.out(f"warning: {line}", highlight=False)
    for line in dict.fromkeys(found.source for found in weights.values() if found and found.source):
        console.out(line, highlight=False)
    if any(recipe.train.bn_affine == "auto" and recipe.bn_affine for recipe in recipes):
        console.out("random weights: BatchNorm's scale and shift train, too (train.bn_affine: auto)", highlight=False)
    for line in dict.fromkeys(filter(None, (dataset.streamed for dataset in datasets.values()))):
        console.out(line, highlight=False)
    console.out(summary(datasets[recipes[0].data]), highlight=False)
    return datasets[recipes[0].data]


def data_warnings(dataset: Dataset, config: DataConfig) -> list[str]:
    """Warnings about data to look at before training: images that are left out, and doubts about labels and pixels."""
    left_out = [str(dataset.left_out)] if dataset.left_out else []
    return [*dataset.notes, *left_out, *pixel_doubts(dataset, config)]


def summary(dataset: Dataset) -> str:
    """Summary line: `400 training images of 10 classes (125 … 6 each), 539 to validate, 64 px`; for volumes `32 × 64 ×
    64 voxels`.

    For a regression: `400 training images with targets from 0.5 to 9 (4.2 ± 1.3), …`.
    """
    if dataset.targets is None:
        counts = dataset.train_counts
        what = f"of {len(dataset.classes)} classes ({counts.max()} … {counts.min()} each)"
    else:
        targets = dataset.targets[dataset.train]
        what = f"with targets from {targets.min():g} to {targets.max():g} ({targets.mean():g} ± {targets.std():g})"
    return f"{len(dataset.train)} training images {what}, {len(dataset.validation)} to validate, {dataset.size}"


def _at_searched_values(of_recipes: Sequence[Sequence[Problem]], recipe: Recipe, source: Source) -> list[Problem]:
    """Moves the problems that only some recipes have to the searched values that cause them."""
    searched = source.data.get("space")
    places = {
        place: ("space", path)
        for path in (searched if isinstance(searched, dict) else ())
        if path not in {"preset", "python"}
        for place in resolve(path, recipe.model_dump(mode="json"))
    }
    found = dict.fromkeys(problem for problems in of_recipes for problem in problems)
    in_all = {problem for problem in found if all(problem in problems for problems in of_recipes)}
    return [
        problem if problem in in_all else problem._replace(path=places.get(problem.path, problem.path))
        for problem in found
    ]


def _open_showing_progress(data: DataConfig, image_sizes: Collection[int], console: Console) -> Dataset:
    with bar(console, "decoding images") as show:
        return open_dataset(data, image_sizes=image_sizes, progress=show)
