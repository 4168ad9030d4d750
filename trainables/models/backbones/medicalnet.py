"""MedicalNet's 3-D ResNets (Chen et al. 2019, github.com/Tencent/MedicalNet), for its published weight files.

Layers 3 and 4 are dilated where other 3-D ResNets have strides. Beware: the weights of one kind load into the other without an
error, because they have the same names and shapes.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from trainables.models.backbone import Backbone
from trainables.models.pretrained_weights import Pretrained
from trainables.models.published_networks import PublishedNetworks, blocks_of
from trainables.models.weight_files import weights_error
from trainables.recipe.backbone_catalog import BACKBONES
from trainables.recipe.model_config import ModelConfig

_LAYERS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
_PADDED_SHORTCUTS = (18, 34)
"""Depths published with shortcuts that pad channels with zeros ("A"); the others project ("B")."""


def _conv3(c_in: int, c_out: int, stride: int = 1, dilation: int = 1) -> nn.Conv3d:
    return nn.Conv3d(c_in, c_out, 3, stride, padding=dilation, dilation=dilation, bias=False)


class PaddedShortcut(nn.Module):
    """Shortcut with every stride-th voxel and zeros for additional channels: [b, c_in, d, h, w] -> [b, c_out, d / stride, …]."""

    def __init__(self, c_out: int, stride: int):
        super().__init__()
        self.c_out, self.stride = c_out, stride

    def forward(self, x: Tensor) -> Tensor:
        s = self.stride
        return F.pad(x[:, :, ::s, ::s, ::s], (0, 0, 0, 0, 0, 0, 0, self.c_out - x.shape[1]))


class BasicBlock(nn.Module):
    """Residual block of two 3 × 3 × 3 convolutions.

    Args:
        c_in: input channels.
        planes: channels of the first convolution; the block has `expansion` times as many output channels.
        stride: step in voxels, of all axes.
        dilation: dilation of the 3 × 3 × 3 convolutions.
        downsample: module of the shortcut; None: the shortcut is the input itself.
    """

    expansion = 1

    def __init__(self, c_in: int, planes: int, stride: int, dilation: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1, self.bn1 = _conv3(c_in, planes, stride, dilation), nn.BatchNorm3d(planes)
        self.conv2, self.bn2 = _conv3(planes, planes, dilation=dilation), nn.BatchNorm3d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return out


class Bottleneck(nn.Module):
    """Residual block of a 1 × 1 × 1, a 3 × 3 × 3 and a 1 × 1 × 1 convolution.

    Args:
        c_in, planes, stride, dilation, downsample: see `BasicBlock`.
    """

    expansion = 4

    def __init__(self, c_in: int, planes: int, stride: int, dilation: int, downsample: nn.Module | None):
        super().__init__()
        wide = planes * self.expansion
        self.conv1, self.bn1 = nn.Conv3d(c_in, planes, 1, bias=False), nn.BatchNorm3d(planes)
        self.conv2, self.bn2 = _conv3(planes, planes, stride, dilation), nn.BatchNorm3d(planes)
        self.conv3, self.bn3 = nn.Conv3d(planes, wide, 1, bias=False), nn.BatchNorm3d(wide)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return out


class MedicalNet(nn.Module):
    """Encoder with the layer names of the published files, which do not include the segmentation head.

    [b, 1, d, h, w] -> [b, features, d / 8, h / 8, w / 8].
    """

    def __init__(self, depth: int):
        super().__init__()
        self.conv1 = nn.Conv3d(1, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        block = Bottleneck if depth >= 50 else BasicBlock
        channels = 64
        for number, (planes, stride, dilation) in enumerate(((64, 1, 1), (128, 2, 1), (256, 1, 2), (512, 1, 4)), 1):
            layer: list[nn.Module] = []
            for i in range(_LAYERS[depth][number - 1]):
                step = stride if i == 0 else 1
                shortcut = _shortcut(channels, planes * block.expansion, step, padded=depth in _PADDED_SHORTCUTS)
                layer.append(block(channels, planes, step, dilation, shortcut))
                channels = planes * block.expansion
            self.add_module(f"layer{number}", nn.Sequential(*layer))
        self.out_features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")


def _shortcut(c_in: int, c_out: int, stride: int, *, padded: bool) -> nn.Module | None:
    if stride == 1 and c_in == c_out:
        return None
    if padded:
        return PaddedShortcut(c_out, stride)
    return nn.Sequential(nn.Conv3d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm3d(c_out))


def _new_network(backbone: str) -> MedicalNet:
    return MedicalNet(int(backbone.removeprefix("medicalnet_resnet")))


def _in_parts(network: nn.Module, backbone: str) -> Backbone:
    assert isinstance(network, MedicalNet)
    blocks = dict(zip(BACKBONES[backbone].blocks, blocks_of(network, backbone), strict=True))
    return Backbone(blocks=blocks, features=network.out_features, dims=3)


def _published(config: ModelConfig) -> Pretrained:
    raise weights_error(
        f"{config.weights!r}: {config.backbone} was published as a file (github.com/Tencent/MedicalNet); give its path, or none"
    )


NETWORKS = PublishedNetworks(
    new_network=_new_network,
    in_parts=_in_parts,
    published=_published,
    statistics=lambda _: (
        (0.0,),
        (1.0,),
    ),  # not used: each volume is standardised by its own, see `BackboneInfo.standardises`
)
