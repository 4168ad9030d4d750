"""Data that `thaw embed` passes through a pretrained network: found as `thaw init` finds them, or named by a search file."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from search.config.yaml_source import InputError, read_source
from search.config_file.init_choices import IMAGE_BACKBONE, size_settings
from search.config_file.load import is_search, load_recipe, load_search
from search.progress.progress_bar import bar
from search.progress.terminal import Console
from trainables.core.config_errors import ConfigError, Problem, counted, dotted
from trainables.core.own_code import trust
from trainables.core.printable import command_line, printable
from trainables.data.dataset import Dataset, open_dataset, open_test
from trainables.data.detection.detect_source import detect_source
from trainables.data.detection.sample import Sample
from trainables.data.detection.unlabelled import open_unlabelled, unlabelled_images, unlabelled_section
from trainables.data.detection.wishes import Wishes
from trainables.data.sources.source import UnknownDataError
from trainables.models.build_model import check_model
from trainables.models.precision import device_of
from trainables.recipe.backbone_catalog import VOLUME_BACKBONES, backbone_info, checked_backbone, is_custom
from trainables.recipe.recipe import Recipe, channel_problems, parse_recipe

if TYPE_CHECKING:
    import numpy as np

SEARCH_FILES = (".yaml", ".yml")
_STAGES = [{"name": "head", "unfreeze_from": "head", "epochs": 10, "head_lr": 1.0e-3}]
"""Only the head would train. Features are cached if that would save time in ten epochs, which any search has."""
_COLUMN = re.compile(r"--(path|label)\b(?!-)")
"""Options of `thaw init` that are called `--path-column` and `--label-column` here, as in `thaw predict`."""
_OPTIONS = {
    "data.image_size": "--image-size",
    "model.backbone": "--backbone",
    "model.weights": "--weights",
    "train.device": "--device",
}
"""Key of a recipe -> option that sets it."""


@dataclass(frozen=True, kw_only=True)
class NetworkChoice:
    """Network as the user chooses it; None: the default."""

    backbone: str | None = None
    weights: str | None = None
    image_size: int | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int | None = None
    on_bad: Literal["skip", "fail"] | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images of one data set."""

    dataset: Dataset
    parts: Mapping[str, np.ndarray]
    """Part of the split -> ascending positions of its images."""
    is_split: bool = True
    """False if the images have no split, and are all in the part `train`."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Data before training, and the network for them."""

    recipe: Recipe
    """Recipe whose only stage trains the head."""
    images: tuple[Images, ...]

    @property
    def description(self) -> str:
        """Network and size, in words: `efficientnet_lite0 (default weights), 96 px`."""
        model = self.recipe.model
        weights = "random" if model.weights == "none" else model.weights
        return f"{model.backbone} ({weights} weights), {self.images[0].dataset.size}"


def open_data(path: Path, choice: NetworkChoice, wishes: Wishes, console: Console) -> Opened:
    """Opens data for a pretrained network. Images are decoded on first use.

    Args:
        path: a search file or recipe, or data that `thaw init` knows, or a folder of images without labels.
        choice: the network.
        wishes: what the user says about the data.
        console: shows the progress and what was found.
    Raises:
        InputError: if the data or the network cannot be used.
    """
    try:
        if choice.backbone and is_custom(checked_backbone(choice.backbone)):
            trust([choice.backbone])  # the user typed it
        if path.suffix.lower() in SEARCH_FILES and path.is_file():
            return _of_file(path, choice, wishes, console)
        return _of_data(path, choice, wishes, console)
    except ConfigError as error:
        raise InputError("\n".join(map(described, error.problems))) from None
    except ValueError as error:
        raise InputError(f"--backbone: {error}") from None


def described(problem: Problem) -> str:
    """Message about a value of the recipe, with the option that sets it."""
    where = _OPTIONS.get(dotted(problem.path)) or ("" if problem.path == ("data", "path") else dotted(problem.path))
    return f"{where}: {problem.message}" if where else problem.message


def _of_file(file: Path, choice: NetworkChoice, wishes: Wishes, console: Console) -> Opened:
    if wishes.typed:
        raise InputError(f"{file} says how its data are read; change it there instead of on the command line")
    source = read_source(file)
    given = load_search(source).recipe if is_search(source) else load_recipe(source)
    data, train = given.data.model_dump(mode="json", exclude_unset=True), given.train
    same = {name: getattr(train, name) for name in ("precision", "prefix_dtype", "cpu_threads")}
    model = given.model.model_dump() if choice.backbone in {None, given.model.backbone} else {}
    return _opened(_recipe(data, model, same, choice), console)


def _of_data(path: Path, choice: NetworkChoice, wishes: Wishes, console: Console) -> Opened:
    try:
        found = detect_source(path, wishes)
    except (UnknownDataError, ConfigError) as error:
        places = unlabelled_images(path) if path.is_dir() and not wishes.typed else []
        if not places:
            raise InputError(_COLUMN.sub(r"--\1-column", _message(error))) from None
        why = command_line("init", path)
        console.out(f"{path}: {counted(len(places), 'image')} without labels ({why} says why)", highlight=False)
        section, sample = unlabelled_section(path, places)
        recipe = _recipe(_sized(section, sample, choice), {}, {}, choice)
        with bar(console, "decoding images") as show:
            dataset = open_unlabelled(recipe.data, places, progress=show)
        if dataset.streamed:
            console.out(dataset.streamed, highlight=False)
        return Opened(recipe=recipe, images=(Images(dataset=dataset, parts={"train": dataset.train}, is_split=False),))
    console.out(f"{path}: {found.what}", highlight=False)
    for doubt in found.doubts:
        if "--group " in doubt:
            continue  # about the sides of a split, and nothing is split here
        console.out(f"please check: {printable(doubt)}", highlight=False)
    data = dict(found.data)
    with tempfile.TemporaryDirectory() as folder:
        if found.table is not None:
            data["path"] = str(Path(folder, "images.csv"))
            found.table.to_csv(data["path"], index=False)
        return _opened(_recipe(_sized(data, found.sample, choice), {}, {}, choice), console)


def _message(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return "\n".join(problem.message for problem in error.problems)
    return str(error)


def _sized(section: Mapping[str, Any], sample: Sample, choice: NetworkChoice) -> dict[str, Any]:
    """Section `data` with the size that the network takes, as `thaw init` chooses it."""
    backbone = choice.backbone or IMAGE_BACKBONE
    if sample.depths is not None and backbone_info(backbone).dims == 2:
        takes = f"{backbone} takes images, but" if choice.backbone else "is needed:"
        raise InputError(f"--backbone: {takes} the data are volumes; choose one of {', '.join(VOLUME_BACKBONES)}")
    return {**section, **size_settings(sample, backbone_info(backbone))}


def _recipe(
    data: Mapping[str, Any], model: Mapping[str, Any], train: Mapping[str, Any], choice: NetworkChoice
) -> Recipe:
    """Recipe whose only stage trains the head.

    Args:
        data: section `data`.
        model: section `model` of a file; empty: `thaw init`'s.
        train: settings of a file on which the features depend.
        choice: what the user says; it wins.
    """
    typed = {"image_size": choice.image_size, "on_bad": choice.on_bad}
    network = {"backbone": choice.backbone, "weights": choice.weights}
    threads = {} if choice.threads is None else {"cpu_threads": choice.threads}
    recipe = parse_recipe({
        "data": {**data, **_given(typed)},
        "model": {"backbone": IMAGE_BACKBONE, **model, **_given(network)},
        "train": {**train, **threads, "device": choice.device, "seed": choice.seed, "stages": _STAGES},
    })  # fmt: skip
    # Before images are decoded, which may take minutes.
    device_of(recipe)
    check_model(recipe.model, image_size=recipe.data.image_size, depth=recipe.data.depth)
    return recipe


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _opened(recipe: Recipe, console: Console) -> Opened:
    with bar(console, "decoding images") as show:
        dataset = open_dataset(recipe.data, progress=show)
    if problems := channel_problems(recipe, dataset.images.shape[-1]):
        raise ConfigError(problems)
    for line in filter(None, (dataset.left_out, dataset.streamed)):
        console.out(str(line), highlight=False)
    return Opened(recipe=recipe, images=tuple(_images_of(recipe, dataset, console)))


def _images_of(recipe: Recipe, dataset: Dataset, console: Console) -> Iterator[Images]:
    parts: dict[str, np.ndarray] = {"train": dataset.train, "val": dataset.validation}
    if len(dataset.test):
        parts["test"] = dataset.test
    yield Images(dataset=dataset, parts=parts)
    if len(dataset.test):
        return
    try:
        test = open_test(recipe.data, dataset)
    except ConfigError as error:
        console.out(f"test images are left out: {_message(error)}", highlight=False)
        return
    if test is not None:
        yield Images(dataset=test, parts={"test": test.validation})
