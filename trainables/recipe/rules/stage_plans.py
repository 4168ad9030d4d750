"""Plans of stages by one word, `train.plan`, which is replaced by the stages that it stands for. Plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from trainables.core.config_errors import ConfigError, Problem, nearest
from trainables.recipe.backbone_catalog import HEAD, BackboneInfo, backbone_info

Plan = Literal[
    "progressive_unfreezing",
    "progressive_freezing",
    "progressive_resizing",
    "three_depths",
    "head_only",
    "last_block",
    "full",
]

_GROWING = (
    # name, share of the images, size of 224, batch of 512, scale of the learning rates
    ("small", 0.5, 128, 1024, 1.0),
    ("middle", 0.75, 160, 768, 0.8),
    ("large", 1.0, 224, 512, 0.5),
)
_EPOCHS = 50
"""Epochs of plans of one stage: as many as the three stages of the others have together."""


def with_planned_stages(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replaces the plan of a recipe, given as plain data, by its stages; returns a recipe without a plan as it is."""
    train = recipe.get("train")
    if not isinstance(train, Mapping) or "stages" in train or train.get("plan") not in get_args(Plan):
        return recipe
    # Without a valid backbone, whose mistake is reported, any stage will do.
    stages = planned_stages(train["plan"], recipe) or [{"name": HEAD, "unfreeze_from": HEAD}]
    return {**recipe, "train": {**train, "plan": None, "stages": stages}}


def plan_problems(recipe: Mapping[str, Any]) -> list[Problem]:
    """Problems of a plan that cannot be replaced by stages."""
    train = recipe.get("train")
    plan = train.get("plan") if isinstance(train, Mapping) else None
    if not isinstance(train, Mapping) or plan is None:
        return []
    place = ("train", "plan")
    if plan not in get_args(Plan):
        return [Problem(place, f"{plan!r} is not a plan; {nearest(str(plan), get_args(Plan))}")]
    if "stages" in train:
        return [Problem(place, f"{plan} stands for stages, but train.stages are given, too; keep one of the two")]
    blocks = _info(recipe)
    if blocks and plan == "progressive_freezing" and len(blocks.blocks) < 3:
        return [Problem(place, f"{plan} needs a backbone of at least three blocks, which has first ones to freeze")]
    return []


def planned_stages(plan: str, recipe: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Stages of a plan for the backbone, image size and batch size of a recipe, given as plain data; None if they are invalid."""
    info = _info(recipe)
    if info is None or plan_problems({"train": {"plan": plan}, "model": recipe.get("model")}):
        return None
    return _STAGES[plan](info, recipe)


def plan_of(recipe: Mapping[str, Any]) -> str | None:
    """Plan whose stages a recipe, given as plain data, has, whatever their rates; None if it is none of them."""

    def shape(stages: Sequence[Mapping[str, Any]]) -> list[Any]:
        return [
            [*map(stage.get, ("name", "unfreeze_from", "epochs")), list(stage.get("freeze", ()))] for stage in stages
        ]

    own = shape(recipe["train"]["stages"])
    return next((plan for plan in get_args(Plan) if own == shape(planned_stages(plan, recipe) or [])), None)


def _info(recipe: Mapping[str, Any]) -> BackboneInfo | None:
    model = recipe.get("model")
    try:
        return backbone_info(model["backbone"]) if isinstance(model, Mapping) else None
    except (ConfigError, ValueError, LookupError, TypeError):  # reported with the backbone
        return None


def _growing(
    info: BackboneInfo,
    recipe: Mapping[str, Any],
    openings: Sequence[dict[str, Any]],
    epochs: Sequence[int] = (10, 15, 25),
) -> list[dict[str, Any]]:
    """Three stages on more and larger images, whose sizes are relative to those of the recipe.

    Args:
        info: facts about the backbone.
        recipe: the recipe as plain data.
        openings: what each stage opens.
        epochs: epochs of each stage.
    """
    size, batch = _number(recipe, "data", "image_size", 224), _number(recipe, "train", "batch_size", 32)
    stages: list[dict[str, Any]] = []
    for (name, fraction, of_224, of_512, scale), opening, most in zip(_GROWING, openings, epochs, strict=True):
        stage = {"name": name, **opening, "epochs": most, "plateau": None, "data_fraction": fraction}
        smaller = _rounded(size * of_224 / 224, size, info)
        own_size = {} if smaller == size else {"image_size": smaller}
        own_batch = {} if of_512 == 512 else {"batch_size": batch * of_512 // 512}
        stages.append({**stage, **own_size, **own_batch, "lr_scale": scale})
    del stages[-1]["plateau"]  # early stopping ends the last stage
    return stages


def _number(recipe: Mapping[str, Any], section: str, key: str, default: int) -> int:
    found = recipe.get(section)
    value = found.get(key, default) if isinstance(found, Mapping) else default
    return value if isinstance(value, int) and value > 0 else default


def _rounded(size: float, largest: int, info: BackboneInfo) -> int:
    """Image size that the backbone takes, at most the largest one."""
    multiple = math.lcm(8, info.size_multiple)
    nearest_size = max(multiple, round(size / multiple) * multiple)
    return largest if info.only_size or nearest_size > largest else nearest_size


def _unfreezing(info: BackboneInfo, recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For a ResNet: from layer3, from layer2, everything."""
    count = len(info.blocks)
    first, second = (info.blocks[count - max(1, round(count * share))] for share in (2 / 5, 3 / 5))
    return _growing(info, recipe, [{"unfreeze_from": name} for name in (first, second, "all")])


def _freezing(info: BackboneInfo, recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For a ResNet: everything, everything, all but layer1 and layer2; the stem stays open."""
    count = len(info.blocks)
    frozen = list(info.blocks[1 : 1 + min(max(1, round(count * 2 / 5)), count - 2)])
    whole = {"unfreeze_from": "all"}
    return _growing(info, recipe, [whole, whole, {**whole, "freeze": frozen}])


def _resizing(info: BackboneInfo, recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    return _growing(info, recipe, [{"unfreeze_from": "all"}] * 3, epochs=(15, 15, 20))


def _last_block(info: BackboneInfo) -> str:
    """Last block, or the last part of it: of a ResNet the last residual block."""
    block = info.blocks[-1]
    return info.parts[block][-1] if block in info.parts else block


def _three_depths(info: BackboneInfo, _: Mapping[str, Any]) -> list[dict[str, Any]]:
    harder = {"dropout": 0.3, "weight_decay": 2e-4}
    return [
        {"name": "head", "unfreeze_from": HEAD, "epochs": 10},
        {"name": "last_block", "unfreeze_from": _last_block(info), "epochs": 15},
        {"name": "full", "unfreeze_from": "all", "epochs": 25, **harder},
    ]


def _single(name: str, opens: Callable[[BackboneInfo], str]) -> Callable[[BackboneInfo, Mapping[str, Any]], Any]:
    return lambda info, _: [{"name": name, "unfreeze_from": opens(info), "epochs": _EPOCHS}]


_STAGES: Mapping[str, Callable[[BackboneInfo, Mapping[str, Any]], list[dict[str, Any]]]] = {
    "progressive_unfreezing": _unfreezing,
    "progressive_freezing": _freezing,
    "progressive_resizing": _resizing,
    "three_depths": _three_depths,
    "head_only": _single("head", lambda _: HEAD),
    "last_block": _single("last_block", _last_block),
    "full": _single("full", lambda _: "all"),
}
