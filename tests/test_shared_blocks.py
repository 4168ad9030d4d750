"""Models of one process share their frozen blocks: nobody's training reaches another."""

import pytest
import torch

from trainables.data.dataset import open_dataset
from trainables.models.backbones import build_model
from trainables.recipe import ModelConfig
from trainables.trainer import Trainer

BLOCKS = 9
"""Of EfficientNet-Lite0."""


def build(*, shared=True, weights="default"):
    config = ModelConfig(backbone="efficientnet_lite0", weights=weights)
    return build_model(config, classes=3, cosine_scale=None, generator=torch.Generator(), shared=shared).model


def is_still(block):
    return not any(p.requires_grad for p in block.parameters()) and not any(m.training for m in block.modules())


def test_shared_blocks_are_the_same_and_the_heads_are_not():
    one, other = build(), build()
    assert all(a is b for a, b in zip(one.blocks, other.blocks, strict=True))
    assert one.head.last.weight is not other.head.last.weight
    alone = build(shared=False)
    assert all(a is not b for a, b in zip(one.blocks, alone.blocks, strict=True))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(one.eval()(images), alone.eval()(images))


@pytest.mark.parametrize("cut", [0, 6, BLOCKS])
def test_what_is_owned_is_a_copy_and_the_rest_stays_still_whatever_is_asked_of_the_model(cut):
    one, other = build(), build()
    one.own(cut)
    assert [a is b for a, b in zip(one.blocks, other.blocks, strict=True)] == [True] * cut + [False] * (BLOCKS - cut)
    one.train().requires_grad_(True)
    assert [is_still(block) for block in one.blocks] == [True] * cut + [False] * (BLOCKS - cut)
    assert all(is_still(block) for block in other.blocks)
    with torch.no_grad():
        for block in one.blocks[cut:]:
            for parameter in block.parameters():
                parameter.zero_()
    before = build(shared=False).state_dict()
    assert all(torch.equal(t, before[n]) for n, t in other.state_dict().items() if n.startswith("blocks."))


def test_random_networks_are_nobody_elses():
    one, other = build(weights="none"), build(weights="none")
    assert one.shared == 0
    assert all(a is not b for a, b in zip(one.blocks, other.blocks, strict=True))


def test_a_checkpoint_that_would_write_into_shared_blocks_is_refused_before_it_does(make_recipe):
    recipe = make_recipe()
    dataset = open_dataset(recipe.data)
    trained = Trainer(recipe, dataset)
    next(trained)
    state = trained.state_dict()
    first = next(iter(trained.model.blocks[0].state_dict()))
    before = trained.model.blocks[0].state_dict()[first].clone()
    state["weights"] = {**state["weights"], f"blocks.0.{first}": torch.zeros_like(before)}
    with pytest.raises(ValueError, match="another network"):
        Trainer(recipe, dataset).load_state_dict(state)
    assert torch.equal(trained.model.blocks[0].state_dict()[first], before)
