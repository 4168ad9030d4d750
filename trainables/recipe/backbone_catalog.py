"""Backbones by family and name, and their blocks from input to head. Plain data, so that a recipe can be checked without
torch.

Only networks that are not in these lists, timm's models and users' own networks, need torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pkgutil import resolve_name
from types import MappingProxyType
from typing import NamedTuple

from trainables.core.config_errors import nearest

HEAD = "head"
"""Name of the part after the blocks: the classifier, trained in every stage."""

STEM = "stem"
"""Name of the first block, if the network has no module for it."""


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
    parts: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Blocks that a stage can cut further: name -> names of their parts from input to head, which may have parts, too."""


def _features(count: int) -> tuple[str, ...]:
    return tuple(f"features.{i}" for i in range(count))


def _parts(counts: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Numbered parts of blocks that have several."""
    return {block: tuple(f"{block}.{i}" for i in range(count)) for block, count in counts.items() if count > 1}


def _resnet(*layers: int, dims: int = 2, parts_of_stem: tuple[str, ...] = ()) -> BackboneInfo:
    """ResNet with so many residual blocks in its four layers."""
    names = ("layer1", "layer2", "layer3", "layer4")
    parts = _parts(dict(zip(names, layers, strict=True))) | ({STEM: parts_of_stem} if parts_of_stem else {})
    return BackboneInfo((STEM, *names), dims=dims, parts=parts)


def _medicalnet(*layers: int) -> BackboneInfo:
    return _resnet(*layers, dims=3)._replace(channels=1, standardises=True)


_LAYERS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""Residual blocks in the layers of a ResNet, by its depth."""
_EFFICIENTNET_PARTS = _parts({f"features.{i}": n for i, n in enumerate((1, 2, 2, 3, 3, 4, 1), start=1)})


@dataclass(frozen=True, kw_only=True)
class BackboneFamily:
    """Declaration of a family: backbones of one origin, which are created and get their weights in one way."""

    networks: str
    """`module:object`, a `Networks` of `trainables/models/networks.py`, which creates them with torch."""
    known: Mapping[str, BackboneInfo] = field(default_factory=dict)
    """Facts about each backbone by name, if the family lists them."""
    pattern: str = r"(?!)"
    """Regular expression of names that only the family's own library can look up; by default there are none."""
    info: str = ""
    """`module:function`, a name of that pattern -> `BackboneInfo`; raises ConfigError."""
    form: str = ""
    """Form of names of that pattern, for messages."""


CUSTOM = BackboneFamily(
    networks="trainables.models.backbones.custom_backbones:NETWORKS",
    pattern=r"[A-Za-z_][\w.]*:[A-Za-z_]\w*",
    info="trainables.models.backbones.custom_backbones:info",
    form="module:function for your own",
)
"""Networks that users' own functions return."""

FAMILIES = (
    BackboneFamily(
        networks="trainables.models.backbones.torchvision_networks:OF_IMAGES",
        known={
            "mobilenet_v3_small": BackboneInfo(_features(13)),
            "mobilenet_v3_large": BackboneInfo(_features(17)),
            **{f"resnet{depth}": _resnet(*_LAYERS[depth]) for depth in (18, 34, 50)},
            "efficientnet_b0": BackboneInfo(_features(9), parts=_EFFICIENTNET_PARTS),
        },
    ),
    BackboneFamily(
        networks="trainables.models.backbones.efficientnet_lite0:NETWORKS",
        # TensorFlow's asymmetric padding equals the fixed one used here only at multiples of 32.
        known={"efficientnet_lite0": BackboneInfo(_features(9), size_multiple=32, parts=_EFFICIENTNET_PARTS)},
    ),
    BackboneFamily(
        networks="trainables.models.backbones.torchvision_networks:OF_VOLUMES",
        known={
            **dict.fromkeys(("r3d_18", "mc3_18"), _resnet(*_LAYERS[18], dims=3)),
            "r2plus1d_18": _resnet(*_LAYERS[18], dims=3, parts_of_stem=("stem.0", "stem.3")),
        },
    ),
    BackboneFamily(
        networks="trainables.models.backbones.medicalnet:NETWORKS",
        known={f"medicalnet_resnet{depth}": _medicalnet(*layers) for depth, layers in _LAYERS.items()},
    ),
    BackboneFamily(
        networks="trainables.models.backbones.timm_backbones:NETWORKS",
        pattern=r"timm/[A-Za-z0-9_.-]+",
        info="trainables.models.backbones.timm_backbones:info",
        form="timm/NAME",
    ),
    CUSTOM,
)
"""Every family. A new backbone of one is a line in its `known`; a new family is a declaration here and a module that creates its
networks."""

BACKBONES = {name: info for family in FAMILIES for name, info in family.known.items()}

IMAGE_BACKBONES = tuple(name for name, info in BACKBONES.items() if info.dims == 2)
VOLUME_BACKBONES = tuple(name for name, info in BACKBONES.items() if info.dims == 3)

BACKBONE_PATTERN = rf"^({'|'.join([*BACKBONES, *(family.pattern for family in FAMILIES if family.info)])})$"
"""Pattern of all valid names of backbones, for editors."""


def family_of(backbone: str) -> BackboneFamily:
    """Family of a backbone.

    Raises:
        ValueError: if the name is not in these lists, and has no form of timm's models or users' own networks.
    """
    for family in FAMILIES:
        if backbone in family.known or re.fullmatch(family.pattern, backbone):
            return family
    forms = ", or ".join(["", *(family.form for family in FAMILIES if family.form)])
    raise ValueError(f"{backbone!r} is not a backbone; {nearest(backbone, tuple(BACKBONES))}{forms}")


def is_custom(backbone: str) -> bool:
    """Returns True if a backbone is a user's own function, `module:function`."""
    return family_of(backbone) is CUSTOM


def checked_backbone(name: str) -> str:
    """Returns the name if it is in this list, or has the form of timm's models or users' own networks.

    Raises:
        ValueError: if it is neither.
    """
    family_of(name)
    return name


@lru_cache(maxsize=64)
def backbone_info(backbone: str) -> BackboneInfo:
    """Facts about a backbone that a recipe is checked against.

    Raises:
        ConfigError: if timm does not have it, or the user's function fails.
    """
    family = family_of(backbone)
    if backbone in family.known:
        return family.known[backbone]
    info: BackboneInfo = resolve_name(family.info)(backbone)
    return info
