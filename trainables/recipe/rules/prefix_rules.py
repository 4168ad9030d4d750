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
    """Returns the reason why the features of a stage's frozen prefix are not cached, or None if they can be.

    Args:
        recipe: recipe of the run.
        stage: position of the stage.
        trains: True for training images, False for validation images.
    """
    train, cut, blocks = recipe.train, recipe.cut(stage), recipe.blocks
    if cut == 0:
        return "the first block trains" if recipe.frozen(stage) else "nothing is frozen"
    if not train.prefix_cache:
        return "train.prefix_cache is off"
    if any(recipe.cut(before) < cut for before in range(stage)):
        return f"blocks before {blocks[cut] if cut < len(blocks) else HEAD} have been trained in an earlier stage"
    if recipe.model.weights == "none":
        return "the network starts from random weights, which differ between runs"
    if trains and train.augment and train.augment.views is None:
        return "training images are augmented differently in each epoch; train.augment.views limits them to a number of views"
    if trains and train.mixes_images:
        return "training images are mixed differently in each epoch; train.mix.at: cut mixes the frozen blocks' output instead"
    return None


def epochs_by_cut(recipe: Recipe, stage: int, *, trains: bool = True) -> Counter[int]:
    """Counts the epochs of one run that can read the features of a stage's images from the cache.

    Args:
        recipe: recipe of the run.
        stage: position of the stage.
        trains: True for training images, False for validation images.
    Returns:
        Number of epochs by cut.
    """

    def images_of(i: int) -> tuple[int, float]:
        return recipe.image_size(i), recipe.train.stages[i].data_fraction if trains else 1.0

    epochs: Counter[int] = Counter()
    for i, other in enumerate(recipe.train.stages):
        if images_of(i) == images_of(stage) and why_uncached(recipe, i, trains=trains) is None:
            epochs[recipe.cut(i)] += other.epochs
    return epochs
