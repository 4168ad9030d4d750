import copy
import sys

import pytest
import safetensors.torch
import torch
from torch import nn

from tests.support.networks import new_network
from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.models.backbones import timm_backbones
from trainables.models.backbones.timm_blocks import UnstageableError, anatomy_of
from trainables.models.build_model import build_model
from trainables.models.published_networks import pretrained
from trainables.recipe.backbone_catalog import backbone_info
from trainables.recipe.model_config import ModelConfig
from trainables.recipe.recipe import parse_recipe
from trainables.recipe.rules.stage_openings import first_open_block
from trainables.recipe.train_config import Ema
from trainables.training.ema import weight_average
from trainables.training.freezing import apply_opening
from trainables.training.stage_plan import Opening
from trainables.training.trainer import Trainer

FAMILIES = {
    "test_resnet": ("stem", "layer1", "layer2", "layer3", "layer4"),
    "regnetx_002": ("stem", "s1", "s2", "s3", "s4"),
    "test_efficientnet": ("stem", *(f"blocks.{i}" for i in range(5))),
    "mobilenetv3_small_050": ("stem", *(f"blocks.{i}" for i in range(6))),
    "test_convnext": ("stem", *(f"stages.{i}" for i in range(4))),
    "test_vit": ("stem", *(f"blocks.{i}" for i in range(6))),  # a class token
    "test_vit2": ("stem", *(f"blocks.{i}" for i in range(8))),  # the mean of its tokens
    "test_vit3": ("stem", *(f"blocks.{i}" for i in range(9))),  # attention, which has parameters
    "swin_tiny_patch4_window7_224": ("stem", *(f"layers.{i}" for i in range(4))),
}
POOLING_HEADS = {"test_vit3", "swin_tiny_patch4_window7_224"}
"""Where something with parameters comes before the pool, in the head."""


def built(name, *, weights="none", classes=4):
    generator = torch.Generator().manual_seed(3)
    config = ModelConfig(backbone=f"timm/{name}", weights=str(weights))
    return build_model(config, classes=classes, cosine_scale=None, generator=generator)


def images(name):
    size = backbone_info(f"timm/{name}").only_size or 64
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def original(name):
    """The network as timm makes it, with the weights that `built` starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return new_network(f"timm/{name}").eval()


@pytest.mark.parametrize(("name", "blocks"), FAMILIES.items(), ids=FAMILIES)
def test_a_network_of_timms_is_its_blocks_in_a_row(name, blocks):
    assert backbone_info(f"timm/{name}").blocks == blocks
    network, model = original(name), built(name).model.eval()
    own = {id(tensor) for tensor in network.parameters()}
    classifier = network.get_submodule(timm_backbones.classifier_of(network))
    model.head.last = classifier
    with torch.inference_mode():
        whole = model(images(name))
        assert torch.allclose(whole, network(images(name)), atol=1e-5)
        for cut in range(len(blocks) + 1):
            features = model.prefix(images(name), cut)
            assert torch.equal(model.tail(cut)(features), whole)
    assert (features.ndim > 2) == (name in POOLING_HEADS or name in {"mobilenetv3_small_050", "test_convnext"})
    assert sum(1 for _ in model.parameters()) == len(own)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "test_convnext", "test_vit", "test_vit3"])
def test_only_what_a_stage_opens_gets_gradients(name):
    model = built(name).model
    for depth in ("head", "last:1", "all"):
        cut = first_open_block(depth, backbone_info(f"timm/{name}").blocks)
        apply_opening(model, Opening(cut, head=True), bn_affine=True)
        model.zero_grad()
        model.tail(cut)(model.prefix(images(name), cut)).sum().backward()
        parts = [*model.blocks[cut:], model.head]
        assert all(p.grad is not None for part in parts for p in part.parameters())
        assert all(p.grad is None for block in model.blocks[:cut] for p in block.parameters())


def test_stochastic_depth_acts_where_a_block_trains():
    """A trace of the network in one mode must not keep it from the other."""
    from timm.layers import DropPath

    model = built("test_vit").model
    for module in model.modules():
        if hasattr(module, "drop_path1"):
            module.drop_path1 = DropPath(0.9)
    x = images("test_vit")
    with torch.no_grad():
        torch.manual_seed(0)
        assert not torch.equal(model.train()(x), model(x))
        assert torch.equal(model.eval()(x), model(x))


def test_an_averaged_tail_is_a_copy():
    tail = built("test_vit").model.tail(3)
    average = weight_average(tail, Ema(decay=0.9)).module
    assert {id(p) for p in average.parameters()}.isdisjoint(id(p) for p in tail.parameters())
    assert list(average.state_dict()) == list(tail.state_dict())


def test_a_run_trains_in_stages_and_goes_on_from_a_checkpoint(make_recipe):
    stages = [
        {"name": "head", "unfreeze_from": "head", "epochs": 1},
        {"name": "top", "unfreeze_from": "stages.3", "epochs": 2, "head_frozen_epochs": 0},
    ]
    recipe = make_recipe(model={"backbone": "timm/test_convnext", "weights": "none"}, stages=stages)
    dataset = open_dataset(recipe.data)
    whole = Trainer(recipe, dataset)
    next(whole), next(whole)
    state = copy.deepcopy(whole.state_dict())
    resumed = Trainer(recipe, dataset)
    resumed.load_state_dict(state)
    (one,), (other,) = list(whole), list(resumed)
    assert (one.open_from, one.metrics["val_loss"]) == ("stages.3", other.metrics["val_loss"])


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_weight_file_is_loaded(suffix, tmp_path):
    torch.manual_seed(8)
    state = new_network("timm/test_convnext").state_dict()
    path = tmp_path / f"weights.{suffix}"
    torch.save(state, path) if suffix == "pth" else safetensors.torch.save_file(state, path)
    model, mean, std, _ = built("test_convnext", weights=path)
    loaded = dict(model.blocks[2].named_parameters())
    assert torch.equal(loaded["stages.1.blocks.0.conv_dw.weight"], state["stages.1.blocks.0.conv_dw.weight"])
    assert (mean, std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert model.head.last.weight.shape == (4, 64)


def test_weights_of_another_network_are_refused_by_the_first_names_that_do_not_fit(tmp_path):
    safetensors.torch.save_file(new_network("timm/test_resnet").state_dict(), tmp_path / "resnet.safetensors")
    config = ModelConfig(backbone="timm/test_convnext", weights=str(tmp_path / "resnet.safetensors"))
    message = (
        "another network than timm/test_convnext: stem.0.weight, stem.0.bias, stem.1.weight, … and 188 more do not fit$"
    )
    with pytest.raises(ConfigError, match=message):
        pretrained(config)


def test_a_broken_safetensors_file_is_refused(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match=r"model\.weights: .*broken\.safetensors is not a file of tensors"):
        pretrained(ModelConfig(backbone="timm/test_convnext", weights=str(tmp_path / "broken.safetensors")))


def test_a_failed_download_says_what_else_there_is(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"the weights of timm/test_resnet cannot be downloaded \(.*\); give a weight file"
    ):
        pretrained(ModelConfig(backbone="timm/test_resnet"))


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("regnetx_002", "tv_in1k", "'tv_in1k': timm/regnetx_002 takes `default`, `none` or a weight file; a tag"),
        ("resnet18d_not", "none", "'resnet18d_not' is not a model of timm .*; nearest: resnet18d, "),
        ("zzzzzzzz", "none", r"timm\.list_models\(\) lists all"),
        ("resnet18.tv_in1", "none", "'tv_in1' is not a tag of resnet18 in timm .*; did you mean 'tv_in1k'"),
    ],
)
def test_what_timm_does_not_have_is_said(name, weights, message):
    with pytest.raises(ConfigError, match=message):
        pretrained(ModelConfig(backbone=f"timm/{name}", weights=weights))


def test_a_network_that_nobody_trained_has_no_published_weights():
    with pytest.raises(ConfigError, match=r"model\.weights: timm publishes none for timm/convnext_atto_rms"):
        pretrained(ModelConfig(backbone="timm/convnext_atto_rms"))


# --- networks that are no row of blocks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ghostnet_050", "outside its modules, it behaves differently in training and in evaluation"),
        ("xcit_nano_12_p16_224", "belongs to an earlier stage than the step before it"),
        ("deit_tiny_distilled_patch16_224", "it has no single linear classifier"),
        ("poolformer_s12", "timm does not divide it into stages"),
    ],
)
def test_a_network_that_is_no_row_of_blocks_is_refused(name, why):
    with pytest.raises(ConfigError, match=f"^model.backbone: timm/{name} cannot be trained in stages: .*{why}"):
        backbone_info(f"timm/{name}")


class Row(nn.Module):
    """Two blocks and a classifier; what happens between them is each test's own."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.two(self.one(x)).mean((2, 3)))


GROUPS = {name: ("one", "two", "fc").index(name.partition(".")[0]) for name, _ in Row().named_parameters()}


class Skips(Row):
    def forward(self, x):
        y = self.one(x)
        z = self.two(y)
        return self.fc(z.mean((2, 3)) + y.mean((2, 3)))


class Depends(Row):
    def forward(self, x):
        return self.fc(self.two(self.one(x)).mean((2, 3))) if x.sum() > 0 else x


class OverClasses(Row):
    def forward(self, x):
        return self.fc(self.two(self.one(x)).mean((2, 3))).softmax(1)


class Unpooled(Row):
    def forward(self, x):
        return self.fc(self.two(self.one(x)).movedim(1, -1))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Skips, "is used beyond the next block"),
        (Depends, "cannot be traced"),
        (OverClasses, "do not compute its output"),
        (Unpooled, "does not take one vector per image"),
    ],
)
def test_nothing_is_staged_that_is_not_proven(kind, why):
    torch.manual_seed(0)
    with pytest.raises(UnstageableError, match=why):
        anatomy_of(kind(), GROUPS, "fc", (3, 12, 12))


def test_a_row_is_cut_where_its_stages_end():
    torch.manual_seed(0)
    anatomy = anatomy_of(Row(), GROUPS, "fc", (3, 12, 12))
    assert {name: section.steps for name, section in anatomy.blocks.items()} == {"stem": ("one",), "two": ("two",)}
    assert (anatomy.pool.steps, anatomy.hidden.steps) == (("mean",), ())


# --- in a recipe ------------------------------------------------------------------------------------------------------


def recipe_of(backbone, *, size, unfreeze_from="head"):
    return parse_recipe(
        {
            "data": {"source": "digits", "image_size": size},
            "model": {"backbone": backbone, "weights": "none"},
            "train": {"stages": [{"name": "a", "unfreeze_from": unfreeze_from}]},
        }
    )


def test_a_recipe_knows_the_blocks_of_timms_models():
    recipe = recipe_of("timm/test_resnet", size=64, unfreeze_from="layer3")
    assert (recipe.blocks, recipe.cut(0)) == (FAMILIES["test_resnet"], 3)


@pytest.mark.parametrize(
    ("backbone", "size", "depth", "mistake"),
    [
        ("timm/test_vit", 224, "head", "data.image_size: 224: timm/test_vit takes only 160"),
        (
            "timm/test_resnet",
            64,
            "stages.1",
            "train.stages[0].unfreeze_from: 'stages.1' is not a block"
            " (stem … layer4, head, all, last:1 … last:5) of timm/test_resnet",
        ),
    ],
)
def test_what_does_not_fit_timms_model_is_a_mistake_of_the_recipe(backbone, size, depth, mistake):
    with pytest.raises(ConfigError) as caught:
        recipe_of(backbone, size=size, unfreeze_from=depth)
    assert str(caught.value) == mistake


def test_without_timm_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"model\.backbone: .*pip install 'thaw-search\[timm\]'"):
        recipe_of("timm/test_resnet2_never_asked_before", size=64)
