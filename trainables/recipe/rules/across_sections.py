"""Rules between `model`, `data` and `train` of a recipe, each checked as far as its sections are valid by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from pydantic import ValidationError

from trainables.core.config_errors import Config, ConfigError, Path, Problem
from trainables.recipe.backbone_catalog import (
    HEAD,
    IMAGE_BACKBONES,
    VOLUME_BACKBONES,
    BackboneInfo,
    backbone_info,
)
from trainables.recipe.data_config import DataConfig
from trainables.recipe.model_config import ModelConfig
from trainables.recipe.rules.stage_openings import opening_problems
from trainables.recipe.rules.task_rules import task_problems
from trainables.recipe.source_catalog import sources_with
from trainables.recipe.stage_config import Stage
from trainables.recipe.train_config import TrainConfig

C = TypeVar("C", bound=Config)


def problems_across_sections(sections: object) -> list[Problem]:
    """Problems of the rules between model, data and training, as far as these sections are valid by themselves."""
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
    yield from (Problem((*place, *key), message) for key, message in opening_problems(stage, backbone, info))
    if stage.head_frozen_epochs and stage.unfreeze_from == HEAD:
        message = f"only the head trains in stage {stage.name!r}, so it cannot be frozen; remove it"
        yield Problem((*place, "head_frozen_epochs"), message)


def _unfit_training(train: TrainConfig) -> Iterator[Problem]:
    """Yields the problems between values of `train`."""
    if train.precision == "fp16" and train.device == "cpu":
        yield Problem(("train", "precision"), "fp16 needs a GPU, but train.device is cpu; use bf16 or fp32")
    if train.compile and train.gradient_checkpointing:
        message = "true: torch.compile decides itself what to compute again; remove one of the two"
        yield Problem(("train", "gradient_checkpointing"), message)
    if train.device == "mps":
        yield from (Problem(("train", key), message) for key, message in _unfit_for_apple(train))
    if train.drw_start and train.drw_start > train.max_epochs:
        message = f"{train.drw_start}: re-weighting would start after the last epoch ({train.max_epochs})"
        yield Problem(("train", "drw", "start_epoch"), message)


def _unfit_for_apple(train: TrainConfig) -> Iterator[tuple[str, str]]:
    """Yields the settings of `train` that torch cannot follow on Apple GPUs, or does not follow correctly, and the reasons."""
    if train.precision == "fp16":
        yield "precision", "fp16 scales gradients, which torch does not do reliably on mps; use bf16 or fp32"
    if train.compile:
        yield "compile", "true: torch.compile is not for mps yet; remove it"
    if train.workers > 1:
        yield "workers", f"{train.workers}: an Apple computer has one GPU; give 1"


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
    for name in ("mean", "std"):
        given = getattr(data, name)
        if given is not None and info.standardises:
            yield Problem(("data", name), f"{backbone} gets each volume standardised by its own voxels; remove it")
        elif isinstance(given, tuple) and len(given) not in {1, info.channels}:
            message = (
                f"{len(given)} numbers, but {backbone} takes {info.channels} channels; give as many, or one number"
            )
            yield Problem(("data", name), message)
    if data.background != "black" and not info.standardises:
        message = f"{data.background!r} is for networks that standardise each volume, MedicalNet's, not for {backbone}; remove it"
        yield Problem(("data", "background"), message)


def _unfit_variations(train: TrainConfig, data: DataConfig) -> Iterator[Problem]:
    """Yields a problem for each augmentation or mixing that is not possible with the data: some need volumes, some images."""
    for name in ("depth_flip", "tilt_degrees"):
        if data.depth is None and train.augment and (value := getattr(train.augment, name)):
            yield Problem(("train", "augment", name), f"{value:g}: applies only to volumes (data.depth); remove it")
    if data.depth is not None and train.device == "mps":
        yield Problem(
            ("train", "device"), "mps: torch's 3-D convolutions have been wrong there; use cpu or cuda for volumes"
        )
    if data.depth is not None and train.mix and train.mix.cutmix_alpha is not None:
        message = f"{train.mix.cutmix_alpha:g}: CutMix works on images only; use mixup_alpha for volumes"
        yield Problem(("train", "mix", "cutmix_alpha"), message)


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
