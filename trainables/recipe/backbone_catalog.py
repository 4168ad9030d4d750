"""Backbones by family and name, and their blocks from input to head. Plain data, so that a recipe is checked without torch.

Only what a recipe names from outside these lists, timm's models and the user's own networks, is looked at through torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pkgutil import resolve_name
from typing import NamedTuple

from trainables.core.config_errors import nearest

HEAD = "head"
"""Name of what follows the blocks: the classifier, trained in every stage."""

STEM = "stem"
"""Name of the first block where the network itself has none for it."""


class BackboneInfo(NamedTuple):
    blocks: tuple[str, ...]
    """Block names from input to head, as the network's own library names the modules."""
    size_multiple: int = 1
    """The image size must be a multiple of this, in pixels."""
    only_size: int | None = None
    """The one image size it takes, in pixels; None: any."""
    dims: int = 2
    """2 for images, 3 for volumes."""
    channels: int = 3
    """Of its input."""
    standardises: bool = False
    """Whether it takes volumes of mean 0 and deviation 1, each brought there by itself, as its weights were trained."""


def _features(count: int) -> tuple[str, ...]:
    return tuple(f"features.{i}" for i in range(count))


_RESNET_BLOCKS = (STEM, "layer1", "layer2", "layer3", "layer4")
_RESNET = BackboneInfo(_RESNET_BLOCKS)
_VIDEO_RESNET = BackboneInfo(_RESNET_BLOCKS, dims=3)
_MEDICALNET = BackboneInfo(_RESNET_BLOCKS, dims=3, channels=1, standardises=True)


@dataclass(frozen=True, kw_only=True)
class BackboneFamily:
    """Declaration of a family: backbones of one origin, which are made and given their weights in one way."""

    networks: str
    """`module:object`, a `Networks` of `trainables/models/networks.py`, which makes them with torch."""
    known: Mapping[str, BackboneInfo] = field(default_factory=dict)
    """What a recipe must know of each, by name, where the family lists them."""
    pattern: str = r"(?!)"
    """Regular expression of names that only the family itself can look up; by default there are none."""
    info: str = ""
    """`module:function`, a name of that pattern -> `BackboneInfo`; raises ConfigError."""
    form: str = ""
    """How names of that pattern are written, for people."""


CUSTOM = BackboneFamily(
    networks="trainables.models.backbones.custom_backbones:NETWORKS",
    pattern=r"[A-Za-z_][\w.]*:[A-Za-z_]\w*",
    info="trainables.models.backbones.custom_backbones:info",
    form="module:function for your own",
)
"""Networks that functions of the user's return."""

FAMILIES = (
    BackboneFamily(
        networks="trainables.models.backbones.torchvision_networks:OF_IMAGES",
        known={
            "mobilenet_v3_small": BackboneInfo(_features(13)),
            "mobilenet_v3_large": BackboneInfo(_features(17)),
            "resnet18": _RESNET,
            "resnet34": _RESNET,
            "resnet50": _RESNET,
            "efficientnet_b0": BackboneInfo(_features(9)),
        },
    ),
    BackboneFamily(
        networks="trainables.models.backbones.efficientnet_lite0:NETWORKS",
        # TensorFlow's asymmetric padding equals the fixed one used here only at multiples of 32.
        known={"efficientnet_lite0": BackboneInfo(_features(9), size_multiple=32)},
    ),
    BackboneFamily(
        networks="trainables.models.backbones.torchvision_networks:OF_VOLUMES",
        known=dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18"), _VIDEO_RESNET),
    ),
    BackboneFamily(
        networks="trainables.models.backbones.medicalnet:NETWORKS",
        known={f"medicalnet_resnet{depth}": _MEDICALNET for depth in (10, 18, 34, 50)},
    ),
    BackboneFamily(
        networks="trainables.models.backbones.timm_backbones:NETWORKS",
        pattern=r"timm/[A-Za-z0-9_.-]+",
        info="trainables.models.backbones.timm_backbones:info",
        form="timm/NAME",
    ),
    CUSTOM,
)
"""Every family. A new backbone of one is a line in its `known`; a new family is a declaration here and a module that makes its
networks."""

BACKBONES = {name: info for family in FAMILIES for name, info in family.known.items()}

IMAGE_BACKBONES = tuple(name for name, info in BACKBONES.items() if info.dims == 2)
VOLUME_BACKBONES = tuple(name for name, info in BACKBONES.items() if info.dims == 3)

BACKBONE_PATTERN = rf"^({'|'.join([*BACKBONES, *(family.pattern for family in FAMILIES if family.info)])})$"
"""Of all names that can be a backbone's, for editors."""


def family_of(backbone: str) -> BackboneFamily:
    """The family that a name belongs to.

    Raises:
        ValueError: if it is no backbone's name.
    """
    for family in FAMILIES:
        if backbone in family.known or re.fullmatch(family.pattern, backbone):
            return family
    forms = ", or ".join(["", *(family.form for family in FAMILIES if family.form)])
    raise ValueError(f"{backbone!r} is no backbone; {nearest(backbone, tuple(BACKBONES))}{forms}")


def is_custom(backbone: str) -> bool:
    """Whether it is a function of the user's, `module:function`."""
    return family_of(backbone) is CUSTOM


def checked_backbone(name: str) -> str:
    """The name, if it is one of these or has the form of one from outside.

    Raises:
        ValueError: if not.
    """
    family_of(name)
    return name


@lru_cache(maxsize=64)
def backbone_info(backbone: str) -> BackboneInfo:
    """What a recipe must know of a backbone.

    Raises:
        ConfigError: if timm or the user's module cannot say.
    """
    family = family_of(backbone)
    if backbone in family.known:
        return family.known[backbone]
    info: BackboneInfo = resolve_name(family.info)(backbone)
    return info


def first_open_block(unfreeze_from: str, blocks: tuple[str, ...]) -> int:
    """Position of the first block that trains: `len(blocks)` for the head alone, 0 for the whole network.

    Args:
        unfreeze_from: a block's name, `head`, `all`, or `last:N` for the last N blocks.
        blocks: block names from input to head.
    Raises:
        ValueError: if it names no block.
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
        f"{unfreeze_from!r} is no block ({blocks[0]} … {blocks[-1]}, {HEAD}, all, last:1 … last:{len(blocks)})"
    )
