"""Backbones by name and their blocks from input to head. Plain data, so that a recipe is checked without torch."""

from __future__ import annotations

from typing import NamedTuple

HEAD = "head"
"""Name of what follows the blocks: the classifier, trained in every stage."""


class BackboneInfo(NamedTuple):
    blocks: tuple[str, ...]
    """Block names from input to head, as torchvision names the modules."""
    size_multiple: int = 1
    """The image size must be a multiple of this, in pixels."""


def _features(count: int) -> tuple[str, ...]:
    return tuple(f"features.{i}" for i in range(count))


_RESNET = BackboneInfo(("stem", "layer1", "layer2", "layer3", "layer4"))

BACKBONES: dict[str, BackboneInfo] = {
    "mobilenet_v3_small": BackboneInfo(_features(13)),
    "mobilenet_v3_large": BackboneInfo(_features(17)),
    "resnet18": _RESNET,
    "resnet34": _RESNET,
    "resnet50": _RESNET,
    "efficientnet_b0": BackboneInfo(_features(9)),
    # TensorFlow's asymmetric padding equals the fixed one used here only at multiples of 32.
    "efficientnet_lite0": BackboneInfo(_features(9), size_multiple=32),
}


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
