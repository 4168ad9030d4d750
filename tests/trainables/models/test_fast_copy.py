import gc

import pytest
import torch
from torch import nn

from trainables.models.backbone import Backbone
from trainables.models.fast_copy import copy_of
from trainables.models.published_networks import published_networks_of
from trainables.recipe.backbone_catalog import BACKBONES


def modules(parts):
    return nn.ModuleList([*parts.blocks.values(), *(part for part in (parts.pool, parts.hidden) if part is not None)])


def mutable_parts(thing, seen=None):
    """Ids of all modules, tensors and containers that can be reached from a network."""
    seen = {} if seen is None else seen
    if id(thing) not in seen and isinstance(thing, nn.Module | torch.Tensor | dict | list | set):
        seen[id(thing)] = thing
        for inside in gc.get_referents(vars(thing) if isinstance(thing, nn.Module) else thing):
            mutable_parts(inside, seen)
    return seen.keys()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_copy_is_the_same_network_and_shares_nothing_that_can_change(backbone):
    torch.manual_seed(0)
    networks = published_networks_of(backbone)
    original = networks.in_parts(networks.new_network(backbone), backbone)
    copied = copy_of(original)
    before, after = modules(original), modules(copied)
    assert str(after) == str(before)
    assert {n: p.requires_grad for n, p in after.named_parameters()} == {n: True for n, _ in before.named_parameters()}
    state = before.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in after.state_dict().items())
    assert [p.stride() for p in after.parameters()] == [p.stride() for p in before.parameters()]
    assert not mutable_parts(before) & mutable_parts(after)


def test_what_occurs_twice_is_copied_once():
    layer = nn.Linear(2, 2)
    layer.register_forward_hook(lambda module, given, made: made)
    tied = nn.Linear(2, 2)
    tied.weight = layer.weight
    tied.friends = [layer]
    copied = copy_of(Backbone(blocks={"a": layer, "b": nn.Sequential(layer, tied)}, features=2))
    assert copied.blocks["a"] is copied.blocks["b"][0] is copied.blocks["b"][1].friends[0]
    assert copied.blocks["b"][1].weight is copied.blocks["a"].weight is not layer.weight
    copied.blocks["a"].register_forward_hook(lambda module, given, made: made)
    assert len(layer._forward_hooks) == 1
