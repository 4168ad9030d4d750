"""Blocks that stages open, also inside the backbone's own blocks."""

import pytest

from trainables.core.config_errors import ConfigError
from trainables.recipe.recipe import parse_recipe
from trainables.recipe.rules.unused_settings import unused_settings


def recipe(*openings, backbone="resnet50", **train):
    stages = [{"name": f"s{i}", **({"unfreeze_from": o} if isinstance(o, str) else o)} for i, o in enumerate(openings)]
    data = {"source": "digits"} | ({"depth": 16} if backbone.startswith("medical") else {})
    return parse_recipe({"data": data, "model": {"backbone": backbone}, "train": {"stages": stages, **train}})


def stem_open(*freeze):
    return {"unfreeze_from": "all", "freeze": list(freeze)}


def test_a_block_is_divided_where_a_stage_names_a_part_of_it():
    made = recipe("head", "layer4.2", "last:2", "all")
    assert made.blocks == ("stem", "layer1", "layer2", "layer3", "layer4.0", "layer4.1", "layer4.2")
    assert made.backbone_blocks == ("stem", "layer1", "layer2", "layer3", "layer4")
    assert [made.cut(i) for i in range(4)] == [7, 6, 3, 0]
    assert [made.depth(i) for i in range(4)] == [5, pytest.approx(4 + 2 / 3), 3, 0]


def test_a_cut_is_the_same_in_all_recipes_of_a_backbone():
    plain, divided = recipe("layer4"), recipe("layer4", "layer4.1", "layer1.2")
    assert plain.cut_keys == ("0", "1", "2", "3", "4", "5")
    assert divided.blocks[1:4] == ("layer1.0", "layer1.1", "layer1.2")
    assert divided.cut_keys == ("0", "1", "layer1.1", "layer1.2", "2", "3", "4", "layer4.1", "layer4.2", "5")
    assert divided.cut_keys[divided.cut(0)] == plain.cut_keys[plain.cut(0)]


@pytest.mark.parametrize(
    ("opening", "frozen"),
    [
        pytest.param("layer3", [0, 1, 2], id="everything before"),
        pytest.param(stem_open("layer1", "layer2"), [1, 2], id="the stem stays open"),
        pytest.param(stem_open("stem", "layer1"), [0, 1], id="the same as unfreeze_from: layer2"),
        pytest.param({"unfreeze_from": "last:3", "freeze": ["layer3"]}, [0, 1, 3], id="between open blocks"),
    ],
)
def test_blocks_are_frozen_before_the_opening_and_by_name(opening, frozen):
    made = recipe(opening)
    assert made.frozen(0) == set(frozen)
    assert made.cut(0) == next(i for i in range(6) if i not in frozen)


def test_a_block_that_is_frozen_by_name_is_frozen_with_all_its_parts():
    made = recipe("layer2.2", stem_open("layer2"))
    assert [made.blocks[i] for i in sorted(made.frozen(1))] == ["layer2.0", "layer2.1", "layer2.2", "layer2.3"]


def test_blocks_that_freeze_again_are_not_new_when_they_open():
    made = recipe("head", "layer3", stem_open("layer1", "layer2"), "all", "all", freeze_head_at="every_opening")
    assert [made.opens_new_blocks(i) for i in range(5)] == [False, True, True, True, False]
    assert [made.head_frozen_epochs(i) for i in range(5)] == [0, 3, 3, 3, 0]


@pytest.mark.parametrize(
    ("opening", "backbone", "message"),
    [
        (
            "layer4.3",
            "resnet50",
            "train.stages[0].unfreeze_from: 'layer4.3' is not a part of layer4 (layer4.0, layer4.1, layer4.2)",
        ),
        (
            "layer4.2.conv1",
            "resnet50",
            "train.stages[0].unfreeze_from: 'layer4.2.conv1': layer4.2 has no parts that can be opened alone; use layer4.2; "
            "blocks with parts: layer1, layer2, layer3, layer4",
        ),
        (
            "features.11.block",
            "mobilenet_v3_small",
            "train.stages[0].unfreeze_from: 'features.11.block': features.11 has no parts that can be opened alone; "
            "use features.11",
        ),
        (
            stem_open("layer5"),
            "resnet50",
            "train.stages[0].freeze[0]: 'layer5' is not a block of resnet50; did you mean 'layer4'?",
        ),
        (
            "features",
            "mobilenet_v3_small",
            "train.stages[0].unfreeze_from: 'features' is not a block (features.0 … features.12, head, all, last:1 … last:13) of "
            "mobilenet_v3_small",
        ),
    ],
)
def test_what_is_no_block_or_part_is_refused_with_what_is(opening, backbone, message):
    with pytest.raises(ConfigError) as caught:
        recipe(opening, backbone=backbone)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("opening", "reason"),
    [
        (stem_open("layer1"), None),
        (
            {"unfreeze_from": "layer3", "freeze": ["layer1", "layer4"]},
            "frozen anyway, because the stage opens layer3: layer1; remove it",
        ),
        (
            {"unfreeze_from": "layer4", "freeze": ["layer4"]},
            "freezes all that layer4 opens; set unfreeze_from: head instead",
        ),
    ],
)
def test_freezing_what_is_frozen_anyway_has_no_effect(opening, reason):
    found = {problem.path: problem.message for problem in unused_settings([recipe(opening)])}
    assert found.get(("train", "stages", 0, "freeze")) == reason
