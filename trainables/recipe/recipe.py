"""`Recipe`: everything that defines one training run. The same recipe and data give the same result, bit for bit on CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, ValidationError, WithJsonSchema, model_validator

from trainables.core.config_errors import Config, ConfigError, Path, Problem, dotted, misread_numbers, problems_of
from trainables.core.dotted_paths import resolve, with_values
from trainables.recipe.backbone_catalog import (
    BACKBONE_PATTERN,
    IMAGE_BACKBONES,
    VOLUME_BACKBONES,
    BackboneInfo,
    backbone_info,
    checked_backbone,
    first_open_block,
    is_custom,
)
from trainables.recipe.data_config import DataConfig
from trainables.recipe.rules.task_rules import task_problems, with_task_defaults
from trainables.recipe.scheduled_changes import fixed_reason
from trainables.recipe.source_catalog import sources_with
from trainables.recipe.stage_config import Stage
from trainables.recipe.train_config import TrainConfig

C = TypeVar("C", bound=Config)


WEIGHT_FILES = (".pt", ".pth", ".safetensors", ".ckpt", ".bin", ".tar")
"""Suffixes of weight files, by which they are told from names of weights."""


class ModelConfig(Config):
    """Pretrained network."""

    backbone: Annotated[
        str, AfterValidator(checked_backbone), WithJsonSchema({"type": "string", "pattern": BACKBONE_PATTERN})
    ]
    """Name of the network: a torchvision model; `efficientnet_lite0`, whose ImageNet weights come with the installation;
    `medicalnet_resnet50` and its siblings; `timm/NAME`; or `module:function`, your own function that returns a
    `trainables.models.Backbone`."""
    weights: str = "default"
    """Pretrained weights: `default` (the best published ones), `none`, the name of torchvision weights (`IMAGENET1K_V1`), or the
    path of a weight file."""

    @property
    def names_a_file(self) -> bool:
        """True if `weights` is a path."""
        return "/" in self.weights or self.weights.endswith(WEIGHT_FILES)

    @model_validator(mode="after")
    def _custom_backbone_has_its_own_weights(self) -> ModelConfig:
        if is_custom(self.backbone) and self.weights != "default":
            raise ValueError(f"{self.backbone} loads its own weights; remove weights: {self.weights}")
        return self


class Recipe(Config):
    """Everything that defines one training run."""

    data: DataConfig
    model: ModelConfig
    train: TrainConfig

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the backbone's blocks, from input to head."""
        return backbone_info(self.model.backbone).blocks

    def cut(self, stage: int) -> int:
        """Position of the first block that trains in a stage; the number of blocks if only the head trains."""
        return first_open_block(self.train.stages[stage].unfreeze_from, self.blocks)

    def image_size(self, stage: int) -> int:
        """Side of the images the network sees in a stage, in pixels."""
        return self.train.stages[stage].image_size or self.data.image_size

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Image sizes that the run needs in addition to `data.image_size`, ascending, in pixels."""
        return tuple(
            sorted({stage.image_size for stage in self.train.stages if stage.image_size} - {self.data.image_size})
        )

    def batch_size(self, stage: int) -> int:
        """Number of images in a batch of a stage, before accumulation."""
        return self.train.stages[stage].batch_size or self.train.batch_size

    def in_epoch(self, epoch: int) -> Recipe:
        """Recipe in effect in an epoch (counted from 1): with the changes due by then applied, and no further ones."""
        if not self.train.changes:
            return self
        data = self.model_dump(mode="json", exclude={"train": {"changes"}})
        for change in self.train.changes:
            if change.after_epoch < epoch:
                data = with_values(data, change.set)
        return Recipe.model_validate(data)

    def continues_unchanged(self, stage: int) -> bool:
        """Returns True if a stage trains the same blocks on the same images in the same way as the one before it."""
        if not 0 < stage < len(self.train.stages) or self.train.stages[stage].schedule.kind != "constant":
            return False  # a schedule that restarts is a change
        return self._resolved(stage) == self._resolved(stage - 1)

    def _resolved(self, stage: int) -> Stage:
        """Stage with its defaults filled in from the recipe, without its name and the rules for its end."""
        same = {"name": "", "epochs": 1, "plateau": None}
        resolved = {"image_size": self.image_size(stage), "batch_size": self.batch_size(stage)}
        return self.train.stages[stage].model_copy(update={**same, **resolved, "unfreeze_from": str(self.cut(stage))})

    def head_frozen_epochs(self, stage: int) -> int:
        """Number of first epochs of a stage in which the head is frozen: as given, else 3 if blocks first open under a trained
        head, but never all."""
        given, epochs = self.train.stages[stage].head_frozen_epochs, self.train.stages[stage].epochs
        if given is not None:
            return given
        opens_first = self.cut(stage) < len(self.blocks) and all(self.cut(s) == len(self.blocks) for s in range(stage))
        return min(3, epochs - 1) if stage > 0 and opens_first else 0


def parse_recipe(data: Mapping[str, Any]) -> Recipe:
    """Builds a recipe from plain data.

    Raises:
        ConfigError: with all problems that were found.
    """
    problems: list[Problem] = []
    if isinstance(data, Mapping):
        data = with_task_defaults(data)
    try:
        recipe = Recipe.model_validate(data)
        problems += misread_numbers(recipe, data)
    except ValidationError as error:
        problems += problems_of(error, Recipe, data)
    if problems := problems + _across_sections(data):
        raise ConfigError(problems)
    if problems := _unfit_changes(recipe):
        raise ConfigError(problems)
    return recipe


def redundant_stages(recipes: Sequence[Recipe]) -> list[Problem]:
    """Returns a problem for each stage that does not differ from the one before it in any of some recipes.

    Not part of `parse_recipe`, because two stages of a single trial may well be alike if depths are searched.
    """
    stages = recipes[0].train.stages if recipes else ()
    message = (
        "stage {!r} trains the same blocks in the same way as {!r} before it; "
        "open or freeze blocks, change a value, or merge the two stages"
    )
    return [
        Problem(("train", "stages", i), message.format(stage.name, stages[i - 1].name))
        for i, stage in enumerate(stages)
        if all(recipe.continues_unchanged(i) for recipe in recipes)
    ]


def _across_sections(sections: object) -> list[Problem]:
    """Checks the rules between model, data and training, as far as these sections are valid by themselves."""
    given = sections if isinstance(sections, Mapping) else {}
    model = _valid(ModelConfig, given.get("model"))
    data, train = _valid(DataConfig, given.get("data")), _valid(TrainConfig, given.get("train"))
    problems = task_problems(given)
    if model:
        problems += _unfit_model(model, dict(_valid_stages(given.get("train"))), data)
    if train and data:
        problems += _unfit_variations(train, data)
    if train:
        problems += _unfit_training(train)
    return problems


def _unfit_model(model: ModelConfig, stages: Mapping[int, Stage], data: DataConfig | None) -> Iterator[Problem]:
    """Yields the problems of a network with the stages (by position) that are valid, and with the data if they are."""
    try:
        info = backbone_info(model.backbone)
    except ConfigError as error:
        yield from error.problems
        return
    for i, stage in stages.items():
        yield from _unfit_stage(model.backbone, info, stage, ("train", "stages", i))
    if data:
        yield from _unfit_images(model.backbone, info, data)


def _unfit_stage(backbone: str, info: BackboneInfo, stage: Stage, place: Path) -> Iterator[Problem]:
    """Yields the reasons why a backbone cannot be trained as a stage says."""
    if stage.image_size and (message := _unfit_size(backbone, info, stage.image_size)):
        yield Problem((*place, "image_size"), message)
    try:
        cut = first_open_block(stage.unfreeze_from, info.blocks)
    except ValueError as error:
        yield Problem((*place, "unfreeze_from"), f"{error} of {backbone}")
        return
    if stage.head_frozen_epochs and cut == len(info.blocks):
        message = f"only the head trains in stage {stage.name!r}, so it cannot be frozen; remove it"
        yield Problem((*place, "head_frozen_epochs"), message)


def _unfit_training(train: TrainConfig) -> Iterator[Problem]:
    """Yields the problems between values of `train`."""
    if train.precision == "fp16" and train.device == "cpu":
        yield Problem(("train", "precision"), "fp16 needs a GPU, but train.device is cpu; use bf16 or fp32")
    if train.drw_start and train.drw_start > train.max_epochs:
        message = f"{train.drw_start}: re-weighting would start after the last epoch ({train.max_epochs})"
        yield Problem(("train", "drw", "start_epoch"), message)


def _unfit_changes(recipe: Recipe) -> list[Problem]:
    """Problems of `train.changes` in an otherwise valid recipe."""
    data, problems = recipe.model_dump(mode="json", exclude={"train": {"changes"}}), []
    for i, change in enumerate(recipe.train.changes):
        place = ("train", "changes", i)
        if change.after_epoch >= recipe.train.max_epochs:
            message = f"{change.after_epoch}: no epoch follows it (the run has at most {recipe.train.max_epochs})"
            problems.append(Problem((*place, "after_epoch"), message))
        fixed = {path: why for path in change.set if (why := fixed_reason(path, data))}
        problems += [Problem((*place, "set", path), why) for path, why in fixed.items()]
        values = {path: value for path, value in change.set.items() if path not in fixed}
        changed = with_values(data, values)
        try:
            parse_recipe(changed)
        except ConfigError as error:
            problems += [_at_its_value(problem, (*place, "set"), values, data) for problem in error.problems]
        else:
            data = changed
    return list(dict.fromkeys(problems))


def _at_its_value(problem: Problem, place: Path, values: Mapping[str, Any], data: Mapping[str, Any]) -> Problem:
    """Moves a problem of a changed recipe to the value of the change that causes it."""
    for path in values:
        for at in resolve(path, data):
            if problem.path[: len(at)] == at or at[: len(problem.path)] == problem.path:
                return Problem((*place, path), problem.message)
    return Problem(place, f"{dotted(problem.path)}: {problem.message}")


def _unfit_images(backbone: str, info: BackboneInfo, data: DataConfig) -> Iterator[Problem]:
    """Yields the reasons why a backbone cannot take the images or volumes of the data."""
    place = ("model", "backbone")
    if info.dims == 3 and data.depth is None:
        valid = f"backbones for images: {', '.join(IMAGE_BACKBONES)}"
        message = f"{backbone} takes volumes, but source {data.source!r} gives images; {valid}"
        hint = "; if the data are volumes, set data.depth to the number of slices the network sees of each"
        yield Problem(place, message + (hint if data.source in sources_with("depth") else ""))
    elif info.dims == 2 and data.depth is not None:
        valid = f"backbones for volumes: {', '.join(VOLUME_BACKBONES)}"
        yield Problem(place, f"{backbone} takes images, but the data are volumes (data.depth is set); {valid}")
    elif info.dims == 2 and info.channels != 3:
        yield Problem(place, f"{backbone} takes {info.channels} channels, but images have 3")
    elif unfit := _unfit_size(backbone, info, data.image_size):
        yield Problem(("data", "image_size"), unfit)


def _unfit_variations(train: TrainConfig, data: DataConfig) -> Iterator[Problem]:
    """Yields a problem for each augmentation or mixing that is not possible with the data: some need volumes, some images."""
    for name in ("depth_flip", "tilt_degrees"):
        if data.depth is None and train.augment and (value := getattr(train.augment, name)):
            yield Problem(("train", "augment", name), f"{value:g}: applies only to volumes (data.depth); remove it")
    if data.depth is not None and train.mix and train.mix.cutmix_alpha is not None:
        message = f"{train.mix.cutmix_alpha:g}: CutMix works on images only; use mixup_alpha for volumes"
        yield Problem(("train", "mix", "cutmix_alpha"), message)


def channel_problems(recipe: Recipe, channels: int) -> list[Problem]:
    """Returns a problem if the network cannot take images of so many channels, a number known only once the data are read."""
    name, taken = recipe.model.backbone, backbone_info(recipe.model.backbone).channels
    if channels <= taken:
        return []
    return [
        Problem(("model", "backbone"), f"{name} takes {taken} channel, but the volumes are in colour, with {channels}")
    ]


def _unfit_size(backbone: str, info: BackboneInfo, size: int) -> str | None:
    if info.only_size and size != info.only_size:
        return f"{size}: {backbone} takes only {info.only_size}"
    if size % info.size_multiple:
        return f"{size}: {backbone} takes only multiples of {info.size_multiple}"
    return None


def _valid_stages(train: object) -> Iterator[tuple[int, Stage]]:
    stages = train.get("stages") if isinstance(train, Mapping) else None
    for i, data in enumerate(stages if isinstance(stages, list | tuple) else ()):
        if stage := _valid(Stage, data):
            yield i, stage


def _valid(kind: type[C], data: object) -> C | None:
    try:
        return kind.model_validate(data)
    except ValidationError:
        return None
