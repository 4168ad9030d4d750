"""Stages that cut inside a block: the same network, bit for bit, with the same names of weights."""

import pytest
import torch
from torch import nn

from trainables.core.config_errors import ConfigError
from trainables.models.backbones.block_parts import parts_of_blocks
from trainables.models.build_model import build_model
from trainables.recipe.backbone_catalog import CUSTOM, backbone_info, family_of
from trainables.recipe.model_config import ModelConfig
from trainables.recipe.rules.stage_openings import divided_blocks
from trainables.recipe.stage_config import Stage

NESTED = """
from torch import nn
from trainables.models import Backbone


def conv(c_in, c_out):
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU())


def nested():
    deep = nn.Sequential(conv(4, 4), nn.Sequential(conv(4, 4), conv(4, 4)), nn.Dropout(0.1))
    return Backbone(blocks={"one": conv(3, 4), "deep": deep, "last": conv(4, 6)}, features=6)
"""


def built(backbone, *stages):
    info = backbone_info(backbone)
    blocks = divided_blocks(info, [Stage(name=f"s{i}", unfreeze_from=name) for i, name in enumerate(stages)])
    config = ModelConfig(backbone=backbone, weights="default" if family_of(backbone) is CUSTOM else "none")
    generator = torch.Generator().manual_seed(0)
    return blocks, build_model(config, classes=3, cosine_scale=None, generator=generator, blocks=blocks).model.eval()


CASES = [
    ("resnet18", "layer4.1", ["stem", "layer1", "layer2", "layer3", "layer4.0", "layer4.1"]),
    ("medicalnet_resnet18", "layer2.1", ["stem", "layer1", "layer2.0", "layer2.1", "layer3", "layer4"]),
    ("timm/test_resnet", "layer1.1", None),
    ("own", "deep.1.1", ["one", "deep.0", "deep.1.0", "deep.1.1", "last"]),
]


@pytest.mark.parametrize(("backbone", "name", "blocks"), CASES)
def test_a_network_that_is_cut_inside_a_block_computes_the_same_bits(own_module, backbone, name, blocks):
    backbone = f"{own_module(NESTED)}:nested" if backbone == "own" else backbone
    (_, whole), (divided, cut) = built(backbone), built(backbone, name)
    if blocks:
        assert list(divided) == blocks
    state = whole.state_dict()
    assert cut.state_dict().keys() == state.keys()
    cut.load_state_dict(state)
    info = backbone_info(backbone)
    images = torch.randn(2, info.channels, *((16,) if info.dims == 3 else ()), 32, 32)
    with torch.inference_mode():
        expected, x = whole(images), images
        for at in range(len(divided) + 1):
            x = cut.prefix(x, at, start=max(0, at - 1))
            assert torch.equal(cut.tail(at).eval()(x), expected)


@pytest.mark.parametrize(("backbone", "name"), [(backbone, name) for backbone, name, _ in CASES])
def test_a_tail_counts_its_blocks_from_the_one_that_is_cut(own_module, backbone, name):
    backbone = f"{own_module(NESTED)}:nested" if backbone == "own" else backbone
    blocks, model = built(backbone, name)
    for cut in range(len(blocks) + 1):
        first = model.block_of(cut)
        names = model.tail(cut).state_dict().keys()
        in_model = {
            f"blocks.{int(n.split('.')[1]) + first}.{n.split('.', 2)[2]}" if n.startswith("blocks.") else n
            for n in names
        }
        assert in_model == model.weights_from(cut).keys()


def conv(channels=2):
    return nn.Conv2d(channels, channels, 1)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


SHARED = conv()


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        pytest.param(nn.Sequential(conv(), conv()), ("b.0", "b.1"), id="two layers"),
        pytest.param(
            nn.Sequential(conv(), nn.BatchNorm2d(2), nn.ReLU(), conv()),
            ("b.0", "b.3"),
            id="a norm belongs to its layer",
        ),
        pytest.param(
            nn.Sequential(nn.ReLU(), conv(), conv()), ("b.1", "b.2"), id="what comes before the first layer, too"
        ),
        pytest.param(nn.Sequential(conv(), nn.BatchNorm2d(2), nn.ReLU()), None, id="one layer"),
        pytest.param(Residual(conv(), conv()), None, id="not only a sequence"),
        pytest.param(nn.ModuleList([conv(), conv()]), None, id="no sequence"),
        pytest.param(nn.Sequential(SHARED, nn.ReLU(), SHARED), None, id="a layer that is used twice"),
    ],
)
def test_a_part_begins_at_a_layer_with_weights(block, parts):
    assert parts_of_blocks({"b": block}) == ({"b": parts} if parts else {})


def test_a_part_never_has_the_name_of_another_block():
    assert parts_of_blocks({"b": nn.Sequential(conv(), conv()), "b.1": conv()}) == {}


def test_other_blocks_than_the_network_has_are_refused():
    config = ModelConfig(backbone="resnet18", weights="none")
    with pytest.raises(ConfigError, match=r"model.backbone: its blocks are stem, layer1, .* expected trunk, layer1"):
        build_model(config, classes=2, cosine_scale=None, generator=torch.Generator(), blocks=["trunk", "layer1"])
