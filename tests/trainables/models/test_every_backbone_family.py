"""What every declared family of backbones must do. A new one in `FAMILIES` is tested here with its first known network; one that
lists none needs an example below."""

import re

import pytest
import torch

from trainables.core.config_errors import ConfigError
from trainables.models.backbones.block_parts import parts_of_blocks
from trainables.models.build_model import build_model, check_model
from trainables.models.networks import networks_of
from trainables.models.published_networks import PublishedNetworks, published_networks_of
from trainables.recipe.backbone_catalog import BACKBONE_PATTERN, BACKBONES, CUSTOM, FAMILIES, backbone_info, family_of
from trainables.recipe.model_config import ModelConfig

EXAMPLES = {
    "trainables.models.backbones.timm_backbones:NETWORKS": "timm/test_resnet",
    "trainables.models.backbones.custom_backbones:NETWORKS": "{own_module}:tiny",
}
"""A name of each family that lists none."""

each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.networks.rpartition(".")[2])


@pytest.fixture
def example(family, own_module):
    """Name of a network of the family."""
    if family.known:
        return next(iter(family.known))
    name = EXAMPLES[family.networks]
    return name.format(own_module=own_module()) if "{own_module}" in name else name


def config_of(backbone):
    """A model config that needs no download."""
    return ModelConfig(backbone=backbone, weights="default" if family_of(backbone) is CUSTOM else "none")


@each_family
def test_a_name_belongs_to_its_family_alone(family, example):
    assert family_of(example) is family
    for other in FAMILIES:
        assert other is family or not (family.known.keys() & other.known.keys())
        assert other is family or not re.fullmatch(other.pattern, example)
    assert re.fullmatch(BACKBONE_PATTERN, example)


@each_family
def test_a_family_lists_its_networks_or_says_how_their_names_are_written(family, example):
    assert bool(family.known) != bool(family.info)
    assert bool(family.info) == bool(family.form)
    if family.form:
        with pytest.raises(ValueError, match=re.escape(family.form)):
            family_of("nothing at all")


@each_family
def test_the_network_is_what_the_recipe_is_told(family, example):
    info = backbone_info(example)
    start = networks_of(example).start(config_of(example), torch.Generator())
    assert tuple(start.parts.blocks) == info.blocks
    assert start.parts.dims == info.dims
    assert len(start.mean) == len(start.std) == info.channels


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_catalog_lists_the_parts_that_the_blocks_of_a_network_have(backbone):
    networks = published_networks_of(backbone)
    with torch.device("meta"):
        network = networks.new_network(backbone)
    assert parts_of_blocks(networks.in_parts(network, backbone).blocks) == dict(backbone_info(backbone).parts)


@each_family
def test_a_model_of_it_takes_what_the_recipe_is_told_and_trains(family, example):
    info = backbone_info(example)
    built = build_model(config_of(example), classes=3, cosine_scale=None, generator=torch.Generator())
    size = info.only_size or 32
    assert size % info.size_multiple == 0
    images = torch.zeros(2, info.channels, *((16,) if info.dims == 3 else ()), size, size)
    logits = built.model.eval()(images)
    assert logits.shape == (2, 3)
    logits.sum().backward()
    assert len(built.model.blocks) == len(info.blocks)
    assert all(p.grad is not None for p in built.model.head.parameters())


@each_family
def test_looking_at_it_says_whether_it_can_be_had(family, example):
    info = backbone_info(example)
    check_model(config_of(example), image_size=info.only_size or 32, depth=16 if info.dims == 3 else None)
    if isinstance(networks_of(example), PublishedNetworks):
        with pytest.raises(ConfigError, match=r"^model\.weights: 'NONSENSE'"):
            check_model(ModelConfig(backbone=example, weights="NONSENSE"), image_size=32)
