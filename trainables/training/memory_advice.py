"""Advice on what to lower when training runs out of memory."""

from __future__ import annotations

from trainables.core.config_errors import counted
from trainables.recipe.recipe import Recipe

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "alloc_failed")
"""Texts of the errors that allocators raise: those of CPUs are plain runtime errors, and those of GPU libraries are many."""


class TrainingMemoryError(MemoryError):
    """Memory that ran out while a run trained. The message says what to lower."""


def ran_out(error: Exception) -> bool:
    """Returns True if memory ran out, in RAM or on a GPU."""
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or (isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS))


def advice(recipe: Recipe, stage: int, *, epoch: int, device: str) -> str:
    """Message for a run that ran out of memory. It is the same whenever this run fails in this stage.

    Args:
        recipe: recipe of the run.
        stage: position of the stage.
        epoch: number of the epoch in the stage, counted from 1.
        device: type of the device.
    """
    train, own = recipe.train, recipe.train.stages[stage]
    batch, side = recipe.batch_size(stage), recipe.image_size(stage)
    depth = recipe.data.depth
    images = f"{counted(batch, 'volume' if depth else 'image')} of {f'{depth} × ' if depth else ''}{side} × {side}"
    opened = recipe.blocks[recipe.cut(stage) :]
    lower = []
    if batch > 1:
        place = f"train.stages[{stage}].batch_size" if own.batch_size else "train.batch_size"
        lower.append(f"{place} {batch // 2} with train.accumulate {2 * train.accumulate} (the same steps)")
    if opened and not train.gradient_checkpointing and not train.compile:
        lower.append("train.gradient_checkpointing true (the same results)")
    if train.precision == "fp32":
        lower.append("train.precision bf16")
    lower.append(f"{f'train.stages[{stage}].image_size' if own.image_size else 'data.image_size'} below {side}")
    if depth:
        lower.append(f"data.depth below {depth}")
    if opened:
        deeper = opened[1] if len(opened) > 1 else "head"
        lower.append(f"train.stages[{stage}].unfreeze_from {deeper} (now {opened[0]})")
    where = "GPU memory" if device == "cuda" else "memory"
    return (
        f"{where} ran out in epoch {epoch} of stage {own.name}, with batches of {images} in {train.precision} and"
        f" {len(opened)} of {len(recipe.blocks)} blocks open. Any of these needs less: {'; '.join(lower)}"
    )
