"""Stages by one word: what a plan stands for on each backbone."""

from typing import get_args

import pytest

from trainables.core.config_errors import ConfigError
from trainables.recipe.backbone_catalog import BACKBONES
from trainables.recipe.recipe import parse_recipe, recipe_with, redundant_stages
from trainables.recipe.rules.stage_plans import Plan, plan_of
from trainables.recipe.rules.unused_settings import unused_settings

PLANS = get_args(Plan)


def plain(plan, backbone="resnet50", image_size=224, batch_size=512, **train):
    volumes = {"depth": 16} if BACKBONES.get(backbone) and BACKBONES[backbone].dims == 3 else {}
    return {
        "data": {"source": "table", "path": "table.csv", "image_size": image_size, **volumes},
        "model": {"backbone": backbone},
        "train": {"plan": plan, "batch_size": batch_size, **train},
    }


def stages_of(recipe):
    return [
        (s.unfreeze_from, s.freeze, s.epochs, s.data_fraction, recipe.image_size(i), recipe.batch_size(i), s.lr_scale)
        for i, s in enumerate(recipe.train.stages)
    ]


GROWING = [(0.5, 128, 1024, 1.0), (0.75, 160, 768, 0.8), (1.0, 224, 512, 0.5)]


@pytest.mark.parametrize(
    ("plan", "openings"),
    [
        ("progressive_unfreezing", [("layer3", (), 10), ("layer2", (), 15), ("all", (), 25)]),
        ("progressive_freezing", [("all", (), 10), ("all", (), 15), ("all", ("layer1", "layer2"), 25)]),
        ("progressive_resizing", [("all", (), 15), ("all", (), 15), ("all", (), 20)]),
    ],
)
def test_the_progressive_plans_grow_as_published(plan, openings):
    expected = [(*opening, *growth) for opening, growth in zip(openings, GROWING, strict=True)]
    assert stages_of(parse_recipe(plain(plan))) == expected


@pytest.mark.parametrize(
    ("plan", "opened"),
    [
        ("three_depths", ["head", "layer4.2", "all"]),
        ("head_only", ["head"]),
        ("last_block", ["layer4.2"]),
        ("full", ["all"]),
    ],
)
def test_the_depths_of_a_resnet_are_its_head_its_last_bottleneck_and_everything(plan, opened):
    assert [stage.unfreeze_from for stage in parse_recipe(plain(plan)).train.stages] == opened


@pytest.mark.parametrize(
    ("backbone", "image_size", "batch_size", "sizes", "batches"),
    [
        pytest.param("resnet50", 64, 32, [40, 48, 64], [64, 48, 32], id="in proportion"),
        pytest.param(
            "efficientnet_lite0", 96, 16, [64, 64, 96], [32, 24, 16], id="in multiples that the network takes"
        ),
        pytest.param("resnet18", 8, 5, [8, 8, 8], [10, 7, 5], id="never smaller than possible"),
        pytest.param("medicalnet_resnet10", 56, 2, [32, 40, 56], [4, 3, 2], id="the sides of slices"),
    ],
)
def test_sizes_are_relative_to_those_of_the_recipe(backbone, image_size, batch_size, sizes, batches):
    recipe = parse_recipe(plain("progressive_resizing", backbone, image_size, batch_size))
    assert [recipe.image_size(i) for i in range(3)] == sizes
    assert [recipe.batch_size(i) for i in range(3)] == batches


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_plan_fits_every_backbone_and_all_that_it_sets_acts(backbone, plan):
    recipe = parse_recipe(plain(plan, backbone))
    assert unused_settings([recipe]) == redundant_stages([recipe]) == []
    resolved = recipe.model_dump(mode="json")
    assert resolved["train"]["plan"] is None
    assert parse_recipe(resolved) == recipe
    assert plan_of(resolved) == plan


def test_values_in_stages_are_set_after_the_plan_whatever_stages_there_were():
    recipe = parse_recipe(plain("head_only")).model_dump(mode="json")
    changed = recipe_with(
        recipe, {"train.stages[*].epochs": 3, "train.plan": "three_depths", "model.backbone": "mobilenet_v3_small"}
    )
    assert [(s.unfreeze_from, s.epochs) for s in changed.train.stages] == [("head", 3), ("features.12", 3), ("all", 3)]
    assert plan_of(recipe_with(recipe, {"train.stages[*].head_lr": 0.5}).model_dump(mode="json")) == "head_only"
    assert plan_of(changed.model_dump(mode="json")) is None


TWO_BLOCKS = """
from torch import nn
from trainables.models import Backbone


def two():
    return Backbone(blocks={"a": nn.Conv2d(3, 3, 1), "b": nn.Conv2d(3, 3, 1)}, features=3)
"""


@pytest.mark.parametrize(
    ("plan", "train", "message"),
    [
        (
            "full",
            {"stages": [{"name": "a", "unfreeze_from": "all"}]},
            "train.plan: full stands for stages, but train.stages are given, too; keep one of the two",
        ),
        ("three_depth", {}, "train.plan: 'three_depth' is not a plan; did you mean 'three_depths'?"),
        (7, {}, "train.plan: 7 is not a plan; valid:"),
    ],
)
def test_a_plan_that_is_none_or_not_alone_is_refused_with_one_message(plan, train, message):
    with pytest.raises(ConfigError) as caught:
        parse_recipe(plain(plan, **train))
    assert str(caught.value).startswith(message)
    assert len(caught.value.problems) == 1


def test_nothing_can_freeze_between_the_stem_and_the_only_other_block(own_module):
    network = f"{own_module(TWO_BLOCKS)}:two"
    with pytest.raises(
        ConfigError, match=r"train.plan: progressive_freezing needs a backbone of at least three blocks"
    ):
        parse_recipe(plain("progressive_freezing", network))
    assert [s.unfreeze_from for s in parse_recipe(plain("progressive_unfreezing", network)).train.stages] == [
        "b",
        "b",
        "all",
    ]


def test_a_plan_for_no_backbone_is_the_backbones_mistake_alone():
    with pytest.raises(ConfigError) as caught:
        parse_recipe(plain("full", "resnet51"))
    assert [problem.path for problem in caught.value.problems] == [("model", "backbone")]
