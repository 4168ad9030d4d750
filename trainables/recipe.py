"""`Recipe`: everything that defines one training run. Recipe + data set = the same result, bit for bit on CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from trainables.data_config import DataConfig
from trainables.models.catalog import BACKBONES, first_open_block
from trainables.problems import Config, ConfigError, Problem, problems_of
from trainables.task_rules import task_problems, with_defaults_of_task
from trainables.train_config import Stage, TrainConfig

C = TypeVar("C", bound=Config)


class ModelConfig(Config):
    """The pretrained network."""

    backbone: Literal[tuple(BACKBONES)]  # type: ignore[valid-type]
    """The network's name in torchvision, or `efficientnet_lite0`, whose ImageNet weights come with the installation."""
    weights: str = "default"
    """`default` (the best published ones), `none`, the name of a torchvision weight (`IMAGENET1K_V1`), or a weight file's path."""

    @property
    def names_a_file(self) -> bool:
        """Whether `weights` is a path."""
        return "/" in self.weights or self.weights.endswith((".pt", ".pth"))


class Recipe(Config):
    """Everything that defines one training run."""

    data: DataConfig
    model: ModelConfig
    train: TrainConfig

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the backbone's blocks, from input to head."""
        return BACKBONES[self.model.backbone].blocks

    def cut(self, stage: int) -> int:
        """Position of the first block that trains in a stage; the number of blocks where only the head does."""
        return first_open_block(self.train.stages[stage].unfreeze_from, self.blocks)

    def head_frozen_epochs(self, stage: int) -> int:
        """First epochs of a stage in which the head rests: given, or 3 where blocks first open under a trained head."""
        given = self.train.stages[stage].head_frozen_epochs
        if given is not None:
            return given
        opens_first = self.cut(stage) < len(self.blocks) and all(self.cut(s) == len(self.blocks) for s in range(stage))
        return 3 if stage > 0 and opens_first else 0


def parse_recipe(data: Mapping[str, Any]) -> Recipe:
    """A recipe from plain data.

    Raises:
        ConfigError: with every mistake found.
    """
    problems: list[Problem] = []
    if isinstance(data, Mapping):
        data = with_defaults_of_task(data)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        problems += problems_of(error, Recipe, data)
    if problems := problems + _across_sections(data):
        raise ConfigError(problems)
    return recipe


def _across_sections(data: object) -> list[Problem]:
    """Rules between model, data and training that no single config can know, for the parts that are valid by themselves."""
    sections = data if isinstance(data, Mapping) else {}
    problems = task_problems(sections)
    if model := _valid(ModelConfig, sections.get("model")):
        blocks, multiple = BACKBONES[model.backbone]
        for i, stage in _valid_stages(sections.get("train")):
            place = ("train", "stages", i)
            try:
                cut = first_open_block(stage.unfreeze_from, blocks)
            except ValueError as error:
                problems.append(Problem((*place, "unfreeze_from"), f"{error} of {model.backbone}"))
                continue
            if stage.head_frozen_epochs and cut == len(blocks):
                message = f"only the head trains in stage {stage.name!r}: freezing it too leaves nothing; remove it"
                problems.append(Problem((*place, "head_frozen_epochs"), message))
        images = _valid(DataConfig, sections.get("data"))
        if images and images.image_size % multiple:
            message = f"{images.image_size}: {model.backbone} takes multiples of {multiple} only"
            problems.append(Problem(("data", "image_size"), message))
    train = _valid(TrainConfig, sections.get("train"))
    if train and train.precision == "fp16" and train.device == "cpu":
        problems.append(Problem(("train", "precision"), "fp16 needs a GPU, and train.device is cpu; use bf16 or fp32"))
    if train and train.drw_start and train.drw_start > train.max_epochs:
        message = f"{train.drw_start}: re-weighting would start after the last epoch ({train.max_epochs})"
        problems.append(Problem(("train", "drw", "start_epoch"), message))
    return problems


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
