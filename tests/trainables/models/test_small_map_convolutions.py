"""Convolutions that train fast on small maps: torch's own numbers, and only where they train."""

import copy
import itertools

import pytest
import torch
from torch import nn

from trainables.data.dataset import open_dataset
from trainables.models.small_map_convolutions import DepthwiseConv2d, PointwiseConv2d, train_fast_on_small_maps
from trainables.training.trainer import Trainer

CONVOLUTIONS = {
    "5 × 5": {"kernel_size": 5, "padding": 2, "groups": 6},
    "5 × 5, every second": {"kernel_size": 5, "padding": 2, "stride": 2, "groups": 6},
    "3 × 3": {"kernel_size": 3, "padding": 1, "groups": 6},
    "3 × 3, every third, without bias": {"kernel_size": 3, "padding": 1, "stride": 3, "groups": 6, "bias": False},
    "3 × 3, dilated": {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 6},
    "7 × 3": {"kernel_size": (7, 3), "padding": (3, 1), "stride": (1, 2), "groups": 6},
    "1 × 1": {"kernel_size": 1},
    "1 × 1, without bias": {"kernel_size": 1, "bias": False},
}
MAPS = [(1, 1), (2, 2), (2, 9), (3, 4), (4, 4), (7, 7), (16, 16)]
UNPADDED = {"kernel_size": 5, "stride": 2, "groups": 6}  # as where TensorFlow's networks pad unevenly before


def images(size, *, batch=3, dtype=torch.float64):
    drawn = torch.randn(batch, 6, *size, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return drawn.to(memory_format=torch.channels_last)


def convolution(name, *, dtype=torch.float64):
    """One as torch has it, and one of ours with the same weights."""
    fields = CONVOLUTIONS.get(name, UNPADDED)
    torch.manual_seed(1)
    plain = nn.Conv2d(6, 6 if "groups" in fields else 8, **fields).to(dtype=dtype, memory_format=torch.channels_last)
    fast = nn.Sequential(copy.deepcopy(plain))
    train_fast_on_small_maps(fast)
    assert type(fast[0]) is (DepthwiseConv2d if "groups" in fields else PointwiseConv2d)
    return plain, fast[0]


def trained(module, x):
    """Output, and the gradients of what goes in and of the weights."""
    x = x.clone().requires_grad_()
    y = module(x)
    (y * torch.arange(y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize(
    ("name", "size"), [*itertools.product(CONVOLUTIONS, MAPS), ("unpadded", (7, 7)), ("unpadded", (19, 7))]
)
@pytest.mark.parametrize("batch", [1, 3, 80])
def test_outputs_and_gradients_are_torchs(name, size, batch):
    plain, fast = convolution(name)
    x = images(size, batch=batch)
    for ours, theirs in zip(trained(fast, x), trained(plain, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_what_does_not_train_computes_the_same_bits(name):
    plain, fast = convolution(name, dtype=torch.float32)
    x = images((7, 7), dtype=torch.float32)
    with torch.no_grad():
        expected = plain(x)
        assert torch.equal(fast(x), expected)
    fast.requires_grad_(False)
    assert torch.equal(fast(x), expected)


@pytest.mark.parametrize("name", ["5 × 5", "1 × 1"])
def test_gradients_reach_what_lies_below_frozen_weights(name):
    plain, fast = convolution(name)
    plain.requires_grad_(False), fast.requires_grad_(False)
    torch.testing.assert_close(trained(fast, images((2, 2)))[:2], trained(plain, images((2, 2)))[:2])


@pytest.mark.parametrize("name", ["5 × 5", "1 × 1"])
def test_mixed_precision_is_torchs(name):
    plain, fast = convolution(name, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        for ours, theirs in zip(
            *(trained(module, images((2, 2), dtype=torch.float32)) for module in (fast, plain)), strict=True
        ):
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)


def test_other_convolutions_stay_as_they_are():
    others = nn.Sequential(
        nn.Conv2d(6, 6, 3),
        nn.Conv2d(6, 12, 3, groups=6),
        nn.Conv2d(6, 6, 3, groups=6, padding="same"),
        nn.Conv2d(6, 6, 3, groups=6, padding=1, padding_mode="reflect"),
        nn.Conv2d(6, 8, 1, stride=2),
        nn.Conv3d(6, 6, 3, groups=6),
    )
    train_fast_on_small_maps(others)
    assert {type(module) for module in others} == {nn.Conv2d, nn.Conv3d}


def test_a_run_on_the_cpu_trains_by_them(make_recipe):
    recipe = make_recipe()
    trainer = Trainer(recipe, open_dataset(recipe.data))
    kinds = [type(module) for module in trainer.model.modules()]
    assert kinds.count(DepthwiseConv2d) == 16
    assert kinds.count(nn.Conv2d) == 1, "the first one sees all three colours"
