"""Blocks that a stage opens, by the names in `unfreeze_from` and `freeze`. A block whose parts are named is divided into them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from trainables.core.config_errors import nearest
from trainables.recipe.backbone_catalog import HEAD, BackboneInfo
from trainables.recipe.stage_config import Stage


def divided_blocks(info: BackboneInfo, stages: Collection[Stage]) -> tuple[str, ...]:
    """Names of a backbone's blocks from input to head; those of which some stages name parts are replaced by their parts."""
    named = [name for stage in stages for name in (stage.unfreeze_from, *stage.freeze)]

    def divided(blocks: Sequence[str]) -> Iterator[str]:
        for block in blocks:
            inside = any(name.startswith(f"{block}.") for name in named)
            yield from divided(info.parts[block]) if inside and block in info.parts else (block,)

    return tuple(divided(info.blocks))


def first_open_block(unfreeze_from: str, blocks: Sequence[str], own: Sequence[str] | None = None) -> int:
    """Position of the first block that trains: `len(blocks)` for the head alone, 0 for the whole network.

    Args:
        unfreeze_from: name of a block, `head`, `all`, or `last:N` for the last N of the backbone's own blocks.
        blocks: block names from input to head.
        own: names of the backbone's own blocks; None: none of them is divided.
    Raises:
        ValueError: if it is none of these.
    """
    own = blocks if own is None else own
    if unfreeze_from == HEAD:
        return len(blocks)
    if unfreeze_from == "all":
        return 0
    word, _, count = unfreeze_from.partition(":")
    if word == "last" and count.isdecimal() and 1 <= int(count) <= len(own):
        unfreeze_from = own[len(own) - int(count)]
    if _is_in_a_block(unfreeze_from, own) and (found := positions_of(unfreeze_from, blocks)):
        return found[0]
    raise ValueError(f"{unfreeze_from!r} is not a block ({own[0]} … {own[-1]}, {HEAD}, all, last:1 … last:{len(own)})")


def positions_of(name: str, blocks: Sequence[str]) -> list[int]:
    """Positions of a block, or of its parts if it is divided; empty if there is no such block."""
    if name in blocks:
        return [blocks.index(name)]
    return [i for i, block in enumerate(blocks) if block.startswith(f"{name}.")]


def _is_in_a_block(name: str, own: Sequence[str]) -> bool:
    """True if a name is that of a backbone's own block, or inside one: `features` of `features.0` is not."""
    return any(f"{name}.".startswith(f"{block}.") for block in own)


def frozen_blocks(stage: Stage, info: BackboneInfo, blocks: Sequence[str]) -> frozenset[int]:
    """Positions of the blocks that do not train in a stage.

    Args:
        stage: the stage.
        info: facts about the backbone.
        blocks: names of its blocks, some of them divided.
    """
    first = first_open_block(stage.unfreeze_from, blocks, info.blocks)
    return frozenset(range(first)).union(*(positions_of(name, blocks) for name in stage.freeze))


def opening_problems(stage: Stage, backbone: str, info: BackboneInfo) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yields the names in a stage that fit no block of a backbone.

    Args:
        stage: the stage.
        backbone: name of the backbone.
        info: facts about it.
    Returns:
        Key in the stage, and message.
    """
    blocks = divided_blocks(info, [stage])
    try:
        first_open_block(stage.unfreeze_from, blocks, info.blocks)
    except ValueError as error:
        yield ("unfreeze_from",), _about_parts(stage.unfreeze_from, info) or f"{error} of {backbone}"
    for i, name in enumerate(stage.freeze):
        if not _is_in_a_block(name, info.blocks) or not positions_of(name, blocks):
            near = nearest(name, info.blocks)
            yield ("freeze", i), _about_parts(name, info) or f"{name!r} is not a block of {backbone}; {near}"


def _about_parts(name: str, info: BackboneInfo) -> str | None:
    """Message about a name inside a block that has no such part; None if it is inside no block."""
    known = (*info.blocks, *(part for parts in info.parts.values() for part in parts))
    inside = [block for block in known if name.startswith(f"{block}.")]
    if not inside:
        return None
    block = max(inside, key=len)
    if block not in info.parts:
        others = f"; blocks with parts: {', '.join(info.parts)}" if info.parts else ""
        return f"{name!r}: {block} has no parts that can be opened alone; use {block}{others}"
    return f"{name!r} is not a part of {block} ({', '.join(info.parts[block])})"
