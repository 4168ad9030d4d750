import pytest
import torch
from torch.nn import functional as F

from tests.support.networks import new_network
from trainables.core.config_errors import ConfigError
from trainables.models.backbones.medicalnet import MedicalNet, PaddedShortcut
from trainables.models.backbones.torchvision_networks import KINETICS_MEAN, KINETICS_STD
from trainables.models.build_model import build_model
from trainables.models.published_networks import pretrained
from trainables.recipe.backbone_catalog import BACKBONES
from trainables.recipe.model_config import ModelConfig

PUBLISHED_MILLIONS = {10: 14.36, 18: 32.99, 34: 63.31, 50: 46.21}
"""Millions of parameters by depth, from the table in MedicalNet's README, which counts running statistics as well."""


@pytest.mark.parametrize(("depth", "millions"), PUBLISHED_MILLIONS.items())
def test_a_medicalnet_has_the_published_number_of_parameters(depth, millions):
    with torch.device("meta"):
        state = MedicalNet(depth).state_dict()
    assert sum(tensor.numel() for tensor in state.values()) / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name.startswith("medicalnet")])
def test_layers_3_and_4_keep_the_resolution_and_are_dilated(backbone):
    with torch.device("meta"):
        network = new_network(backbone)
        x = torch.empty(1, 1, 48, 64, 32)
        x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        sides = [tuple(x.shape[2:])]
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            x = layer(x)
            sides.append(tuple(x.shape[2:]))
    quarter, eighth = (12, 16, 8), (6, 8, 4)
    assert sides == [quarter, quarter, eighth, eighth, eighth]
    assert x.shape[1] == network.out_features
    dilations = {
        number: {m.dilation for m in network.get_submodule(f"layer{number}").modules() if _is_3x3x3(m)}
        for number in (1, 2, 3, 4)
    }
    assert dilations == {1: {(1, 1, 1)}, 2: {(1, 1, 1)}, 3: {(2, 2, 2)}, 4: {(4, 4, 4)}}


def _is_3x3x3(module):
    return isinstance(module, torch.nn.Conv3d) and module.kernel_size == (3, 3, 3)


def test_the_first_convolution_takes_one_channel_at_half_the_resolution():
    conv = MedicalNet(10).conv1
    assert (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride) == (1, 64, (7, 7, 7), (2, 2, 2))


def test_a_padded_shortcut_takes_every_second_voxel_and_adds_empty_channels():
    x = torch.randn(2, 3, 4, 6, 5)
    y = PaddedShortcut(5, stride=2)(x)
    assert torch.equal(y[:, :3], F.avg_pool3d(x, 1, stride=2))  # as the authors write it
    assert y.shape == (2, 5, 2, 3, 3)
    assert not y[:, 3:].any()


@pytest.mark.parametrize(("depth", "projected"), [(10, True), (18, False), (34, False), (50, True)])
def test_shortcuts_are_of_the_kind_that_was_published(depth, projected):
    with torch.device("meta"):
        names = MedicalNet(depth).state_dict()
    assert ("layer2.0.downsample.0.weight" in names) == projected


# --- weight files -----------------------------------------------------------------------------------------------------


def published_file(path, depth=10):
    """A file of MedicalNet's layout; its tensors."""
    torch.manual_seed(4)
    state = {name: torch.randn(t.shape) if t.ndim else t for name, t in MedicalNet(depth).state_dict().items()}
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    return state


def built(weights, backbone="medicalnet_resnet10"):
    config = ModelConfig(backbone=backbone, weights=str(weights))
    return build_model(config, classes=3, cosine_scale=None, generator=torch.Generator().manual_seed(0))


def test_a_published_file_is_loaded_whole(tmp_path):
    state = published_file(tmp_path / "resnet_10.pth")
    model, mean, std, _ = built(tmp_path / "resnet_10.pth")
    loaded = model.state_dict()
    assert torch.equal(loaded["blocks.0.0.weight"], state["conv1.weight"])
    assert torch.equal(loaded["blocks.0.1.running_var"], state["bn1.running_var"])
    for number in (1, 2, 3, 4):
        names = [name for name in state if name.startswith(f"layer{number}.")]
        assert names
        for name in names:
            assert torch.equal(loaded[f"blocks.{number}.{name.removeprefix(f'layer{number}.')}"], state[name]), name
    assert (mean, std) == ((0.0,), (1.0,))


def test_a_built_medicalnet_computes_what_its_layers_compute():
    model = built("none").model.eval()
    torch.manual_seed(1)
    network = MedicalNet(10).eval()
    for block, name in zip(model.blocks[1:], ("layer1", "layer2", "layer3", "layer4"), strict=True):
        block.load_state_dict(network.get_submodule(name).state_dict())
    model.blocks[0].load_state_dict(
        {
            f"{i}.{name}": t
            for i, part in ((0, network.conv1), (1, network.bn1))
            for name, t in part.state_dict().items()
        }
    )
    x = torch.randn(2, 1, 16, 24, 16)
    with torch.inference_mode():
        y = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            y = layer(y)
        assert torch.allclose(model.prefix(x, 5), y.mean((2, 3, 4)), atol=1e-5)
        assert model(x).shape == (2, 3)


def test_a_file_of_another_depth_is_refused(tmp_path):
    published_file(tmp_path / "resnet_10.pth")
    message = r"another network than medicalnet_resnet18: layer1\.1\.conv1\.weight, .* do not fit$"
    with pytest.raises(ConfigError, match=message):
        built(tmp_path / "resnet_10.pth", "medicalnet_resnet18")


def test_medicalnets_weights_are_to_be_had_as_a_file():
    with pytest.raises(ConfigError, match=r"^model\.weights: 'default': medicalnet_resnet50 was published as a file"):
        pretrained(ModelConfig(backbone="medicalnet_resnet50"))


@pytest.mark.parametrize(
    "backbone", [name for name, info in BACKBONES.items() if info.dims == 3 and info.channels == 3]
)
def test_video_networks_see_what_they_were_trained_on(backbone):
    found = pretrained(ModelConfig(backbone=backbone, weights="none"))
    assert (found.mean, found.std) == (KINETICS_MEAN, KINETICS_STD)
