"""Rules of the frozen prefix: how many images pass it together, and when its features can be cached and shared."""

from __future__ import annotations

from collections import Counter

from trainables.recipe.backbone_catalog import HEAD, backbone_info
from trainables.recipe.recipe import Recipe

PREFIX_BATCH, PREFIX_BATCH_OF_VOLUMES = 32, 4
"""Images, or volumes, that pass a frozen prefix together, whatever the batch size: on CPU the bits that come out for an image
depend on how many pass with it. Volumes are few, since they take much memory."""


def prefix_batch(recipe: Recipe) -> int:
    """Number of images that pass a recipe's frozen prefix together."""
    return PREFIX_BATCH if backbone_info(recipe.model.backbone).dims == 2 else PREFIX_BATCH_OF_VOLUMES


def why_uncached(recipe: Recipe, stage: int, *, trains: bool = True) -> str | None:
    """Reason why the features of a stage's frozen prefix cannot be cached; None where they can.

    Args:
        recipe: of the run.
        stage: its index.
        trains: whether the features are those of training images; else of validation images.
    """
    train, cut, blocks = recipe.train, recipe.cut(stage), recipe.blocks
    if cut == 0:
        return "nothing is frozen"
    if not train.prefix_cache:
        return "train.prefix_cache is off"
    if any(recipe.cut(before) < cut for before in range(stage)):
        return f"blocks before {blocks[cut] if cut < len(blocks) else HEAD} have been trained in an earlier stage"
    if recipe.model.weights == "none":
        return "the network starts at random, in each run from other weights"
    if trains and train.augment and train.augment.views is None:
        return "training images are new in each epoch; train.augment.views gives them a number of versions"
    if trains and train.mixes_images:
        return "training images are mixed anew in each epoch; train.mix.at: cut mixes what leaves the frozen blocks instead"
    return None


def epochs_by_cut(recipe: Recipe, stage: int, *, trains: bool = True) -> Counter[int]:
    """Epochs of one run that can read its features at each cut from a cache, of the very images that a stage has.

    Args:
        recipe: of the run.
        stage: its index.
        trains: whether the images are training images; else validation images.
    """

    def images_of(i: int) -> tuple[int, float]:
        return recipe.image_size(i), recipe.train.stages[i].data_fraction if trains else 1.0

    epochs: Counter[int] = Counter()
    for i, other in enumerate(recipe.train.stages):
        if images_of(i) == images_of(stage) and why_uncached(recipe, i, trains=trains) is None:
            epochs[recipe.cut(i)] += other.epochs
    return epochs
