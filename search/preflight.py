"""What can only be known by looking: the data, the weights. Done before Ray starts, so that no trial meets it first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from search.source import InputError, Source
from trainables.data.dataset import Dataset, open_dataset
from trainables.data_config import DataConfig
from trainables.problems import ConfigError
from trainables.recipe import Recipe


def check_by_looking(recipes: Sequence[Recipe], source: Source, console: Console) -> Dataset:
    """Opens the data and the weights of some recipes, and says what they are.

    Returns:
        The data of the first recipe.
    Raises:
        InputError: with what is wrong with them.
    """
    datasets = []
    try:
        for data in dict.fromkeys(recipe.data for recipe in recipes):
            datasets.append(_open_showing_progress(data, console))
        from trainables.models.weights import pretrained  # imports torch, which takes longer than most mistakes

        for model in dict.fromkeys(recipe.model for recipe in recipes):
            pretrained(model)
    except ConfigError as error:
        raise InputError(source.describe(error.problems)) from None
    console.out(summary(datasets[0]), highlight=False)
    return datasets[0]


def summary(dataset: Dataset) -> str:
    """`400 training images of 10 classes (125 … 6 each), 539 to validate, 64 px`

    Or, of a regression, `400 training images with targets from 0.5 to 9 (4.2 ± 1.3), …`.
    """
    size = dataset.images.shape[1]
    if dataset.targets is None:
        counts = dataset.train_counts
        what = f"of {len(dataset.classes)} classes ({counts.max()} … {counts.min()} each)"
    else:
        targets = dataset.targets[dataset.train]
        what = f"with targets from {targets.min():g} to {targets.max():g} ({targets.mean():g} ± {targets.std():g})"
    return f"{len(dataset.train)} training images {what}, {len(dataset.validation)} to validate, {size} px"


def _open_showing_progress(data: DataConfig, console: Console) -> Dataset:
    columns = (TextColumn("decoding images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", visible=False)  # seen only where there is something to decode

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        return open_dataset(data, progress=show)
