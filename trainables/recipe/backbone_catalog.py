"""Backbones by name and their blocks from input to head. Plain data, so that a recipe can be checked without torch.

Only networks that are not in this list, timm's models and users' own networks, need torch.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from trainables.core.config_errors import nearest

HEAD = "head"
"""Name of the part after the blocks: the classifier, trained in every stage."""

STEM = "stem"
"""Name of the first block, if the network has no module for it."""

TIMM = "timm/"
"""Prefix of the names of timm's models."""


class BackboneInfo(NamedTuple):
    """Facts about a backbone that a recipe is checked against."""

    blocks: tuple[str, ...]
    """Block names from input to head, as the network's library names the modules."""
    size_multiple: int = 1
    """Number of pixels that the image size must be a multiple of."""
    only_size: int | None = None
    """Only valid image size, in pixels; None: any size is valid."""
    dims: int = 2
    """2 for images, 3 for volumes."""
    channels: int = 3
    """Channels of the input."""
    standardises: bool = False
    """True if each volume is standardised to mean 0 and deviation 1 by its own voxels, as for its published weights."""


def _features(count: int) -> tuple[str, ...]:
    return tuple(f"features.{i}" for i in range(count))


_RESNET_BLOCKS = (STEM, "layer1", "layer2", "layer3", "layer4")
_RESNET = BackboneInfo(_RESNET_BLOCKS)
_VIDEO_RESNET = BackboneInfo(_RESNET_BLOCKS, dims=3)
_MEDICALNET = BackboneInfo(_RESNET_BLOCKS, dims=3, channels=1, standardises=True)

BACKBONES: dict[str, BackboneInfo] = {
    "mobilenet_v3_small": BackboneInfo(_features(13)),
    "mobilenet_v3_large": BackboneInfo(_features(17)),
    "resnet18": _RESNET,
    "resnet34": _RESNET,
    "resnet50": _RESNET,
    "efficientnet_b0": BackboneInfo(_features(9)),
    # TensorFlow's asymmetric padding equals the fixed one used here only at multiples of 32.
    "efficientnet_lite0": BackboneInfo(_features(9), size_multiple=32),
    "r3d_18": _VIDEO_RESNET,
    "mc3_18": _VIDEO_RESNET,
    "r2plus1d_18": _VIDEO_RESNET,
    "medicalnet_resnet10": _MEDICALNET,
    "medicalnet_resnet18": _MEDICALNET,
    "medicalnet_resnet34": _MEDICALNET,
    "medicalnet_resnet50": _MEDICALNET,
}

IMAGE_BACKBONES = tuple(name for name, info in BACKBONES.items() if info.dims == 2)
VOLUME_BACKBONES = tuple(name for name, info in BACKBONES.items() if info.dims == 3)

_OUTSIDE = r"timm/[A-Za-z0-9_.-]+|[A-Za-z_][\w.]*:[A-Za-z_]\w*"
BACKBONE_PATTERN = rf"^({'|'.join(BACKBONES)}|{_OUTSIDE})$"
"""Pattern of all valid names of backbones, for editors."""


def is_custom(backbone: str) -> bool:
    """Returns True if a backbone is a user's own function, `module:function`."""
    return ":" in backbone


def checked_backbone(name: str) -> str:
    """Returns the name if it is in this list, or has the form of timm's models or users' own networks.

    Raises:
        ValueError: if it is neither.
    """
    if name in BACKBONES or re.fullmatch(_OUTSIDE, name):
        return name
    raise ValueError(
        f"{name!r} is not a backbone; {nearest(name, tuple(BACKBONES))}, or timm/NAME, or module:function for your own"
    )


@lru_cache(maxsize=64)
def backbone_info(backbone: str) -> BackboneInfo:
    """Facts about a backbone that a recipe is checked against.

    Raises:
        ConfigError: if timm does not have it, or the user's function fails.
    """
    if backbone in BACKBONES:
        return BACKBONES[backbone]
    if is_custom(backbone):
        from trainables.models.backbones import custom_backbones

        return custom_backbones.info(backbone)
    from trainables.models.backbones import timm_backbones

    return timm_backbones.info(backbone)


def first_open_block(unfreeze_from: str, blocks: tuple[str, ...]) -> int:
    """Position of the first block that trains: `len(blocks)` for the head alone, 0 for the whole network.

    Args:
        unfreeze_from: name of a block, `head`, `all`, or `last:N` for the last N blocks.
        blocks: block names from input to head.
    Raises:
        ValueError: if it is none of these.
    """
    if unfreeze_from == HEAD:
        return len(blocks)
    if unfreeze_from == "all":
        return 0
    if unfreeze_from in blocks:
        return blocks.index(unfreeze_from)
    word, _, count = unfreeze_from.partition(":")
    if word == "last" and count.isdecimal() and 1 <= int(count) <= len(blocks):
        return len(blocks) - int(count)
    raise ValueError(
        f"{unfreeze_from!r} is not a block ({blocks[0]} … {blocks[-1]}, {HEAD}, all, last:1 … last:{len(blocks)})"
    )
