"""Measures the cost of a recipe's stages: trains each on a few real batches with the real trainer and discards the result."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from trainables.checkpoints.disk_budget import bytes_of_blocks
from trainables.core.config_errors import counted
from trainables.core.seeding import random_state
from trainables.data.dataset import Dataset
from trainables.data.stage_view import data_of_stage
from trainables.data.store.streamed_images import StreamedImages
from trainables.models.precision import device_of
from trainables.models.staged_model import StagedModel
from trainables.recipe.backbone_catalog import backbone_info
from trainables.recipe.recipe import Recipe
from trainables.recipe.rules.prefix_rules import prefix_batch, why_uncached
from trainables.storage import cache_folder
from trainables.training.trainer import Trainer
from trainables.trial.peak_memory import PeakMemory

_MEASURE_FOR_S = 2.0
"""Target duration of the measured epoch; it decides the number of batches."""
_MOST_BATCHES = 12
_MANY = 1_000_000
"""Assumed number of runs in the search: so many that all features that can be cached are."""


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Cost of one stage of a recipe, measured on a few batches."""

    stage: str
    unfreeze_from: str
    """First block that trains, and how many later ones stay frozen: `all, 2 blocks frozen`."""
    depth: float
    """Position of the first block that trains, see `Recipe.depth`."""
    epochs: int
    """Largest number of epochs of the stage."""
    batch: tuple[int, ...]
    """Shape of a batch at the network's input: [b, c, h, w], or [b, c, d, h, w] for volumes."""
    features: tuple[int, ...]
    """Shape of the frozen blocks' output, which the open blocks take."""
    logits: tuple[int, ...]
    """Shape of the outputs, [b, c]."""
    trained_parameters: int
    """Number of parameters that train in the stage, the head's included."""
    train_loss: float
    """Training loss of the first epoch, over a single batch: before anything is learned."""
    val_loss: float
    """Validation loss after the second such epoch."""
    train_s: float
    """Seconds of training in an epoch over the whole data set, extrapolated; with cached features of frozen blocks if these can be
    cached."""
    val_s: float
    """Seconds of validation in such an epoch."""
    cache_s: float
    """Seconds to compute those features, once for all trials."""
    cache_bytes: int
    """Size of those features on disk."""
    images: int
    """Number of images measured, for training and validation together."""
    block_bytes: tuple[int, ...]
    """Bytes of the weights of each block of the network, the head's last."""

    @property
    def finite(self) -> bool:
        """True if both losses are finite."""
        return math.isfinite(self.train_loss) and math.isfinite(self.val_loss)

    @property
    def epoch_s(self) -> float:
        """Seconds of an epoch, validation included."""
        return self.train_s + self.val_s


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Costs of several stages, measured one after the other."""

    stages: tuple[StageCost, ...]
    ram_bytes: int
    """Peak of the RAM that models, optimizers and batches took, on top of what the process used before."""
    gpu_bytes: int | None
    """Peak of the GPU memory that tensors took; None on the CPU."""


def dry_run(stages: Sequence[tuple[Recipe, int]], dataset: Dataset) -> DryRun:
    """Measures some stages, each given as a recipe and the stage's position in it.

    Args:
        stages: stages to measure; all recipes train on the same kind of device.
        dataset: data set of the recipes.
    Raises:
        ConfigError: if the weights cannot be loaded, or a recipe needs a GPU and there is none.
    """
    # One peak for all stages: each stage reuses the memory that the process got for the one before.
    with PeakMemory(device_of(stages[0][0])) as peak:
        costs = tuple(measure_stage(recipe, index, dataset) for recipe, index in stages)
    return DryRun(stages=costs, ram_bytes=peak.ram_bytes, gpu_bytes=peak.gpu_bytes)


def measure_stage(recipe: Recipe, index: int, dataset: Dataset) -> StageCost:
    """Trains a stage on a few batches, from the pretrained weights and with an open head.

    Args:
        recipe: recipe of the stage.
        index: position of the stage in it.
        dataset: data set of the recipe.
    Raises:
        ConfigError: if the weights cannot be loaded, or the recipe needs a GPU and there is none.
    """
    stage, batch_size, seed = recipe.train.stages[index], recipe.batch_size(index), recipe.train.seed
    dataset = data_of_stage(recipe, dataset, index)
    alone = _alone(recipe, index)
    one_batch = sample(dataset, batch_size, seed=seed)
    trainer = Trainer(_uncached(alone), one_batch)
    first, second = next(trainer), next(trainer)  # the first epoch also allocates memory and loads kernels
    batches = int(min(_MOST_BATCHES, max(1, _MEASURE_FOR_S / (second.train_s + second.val_s))))
    # Fewer images than pass the frozen blocks together would take as long as those.
    least = prefix_batch(recipe) if recipe.cut(index) else 1
    data = sample(dataset, max(least, batch_size * batches), seed=seed)
    with cache_folder.temporary():
        building, measured = Trainer(alone, data, sharing_runs=_MANY)
        cache_bytes = sum(entry.bytes for entry in cache_folder.entries())
    share = len(data.train) / len(dataset.train)
    views = (recipe.train.augment.views or 1) if recipe.train.augment else 1
    model, cut, channels = trainer.model, alone.cut(0), backbone_info(recipe.model.backbone).channels
    return StageCost(
        stage=stage.name,
        unfreeze_from=stage.unfreeze_from + (f", {counted(len(stage.freeze), 'block')} frozen" if stage.freeze else ""),
        depth=recipe.depth(index),
        epochs=stage.epochs,
        **_shapes(
            model, cut, (channels, *dataset.images.shape[1:-1]), min(batch_size, len(dataset.train)), trainer.device
        ),
        trained_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        train_loss=first.train_loss,
        val_loss=second.metrics["val_loss"],
        train_s=measured.train_s / share,
        val_s=measured.val_s * len(dataset.validation) / len(data.validation),
        cache_s=views * building.cache_s / share,
        cache_bytes=int(views * cache_bytes / share),
        images=len(data.train) + len(data.validation),
        block_bytes=bytes_of_blocks(model),
    )


def _alone(recipe: Recipe, index: int) -> Recipe:
    """Recipe of the stage alone, for two epochs in which the head trains."""
    alone = {"epochs": 2, "plateau": None, "head_frozen_epochs": 0, "image_size": None, "data_fraction": 1.0}
    stage = recipe.train.stages[index].model_copy(update=alone)
    # No flag stops it: a loss that is not finite is to be reported.
    cacheable = not why_uncached(recipe, index)
    changes: dict[str, object] = {"stages": (stage,), "early_stop": None, "stop_on": (), "changes": ()}
    changes["prefix_cache"] = cacheable
    augment = recipe.train.augment
    if augment and augment.views:  # a single view, so that the second epoch finds what the first has cached
        changes["augment"] = augment.model_copy(update={"views": 1})
    train, data = recipe.train.model_copy(update=changes), recipe.data.at_size(recipe.image_size(index))
    return recipe.model_copy(update={"train": train, "data": data})


def _uncached(recipe: Recipe) -> Recipe:
    """The same recipe with caching of features turned off."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"prefix_cache": False})})


def sample(dataset: Dataset, count: int, *, seed: int) -> Dataset:
    """Draws a small data set: about `count` images each for training and validation, at least one of each class.

    They are in memory, unless they are streamed, so that decoding is measured, too.

    Args:
        dataset: data set to draw from.
        count: number of images on each side; classes may make it larger.
        seed: seed of the draw.
    """
    sides = [_drawn(dataset, side, count, seed) for side in (dataset.train, dataset.validation)]
    taken, images = np.concatenate(sides), dataset.images
    identity = hashlib.sha256(dataset.fingerprint.encode() + taken.tobytes()).hexdigest()
    return replace(
        dataset,
        images=images.at(taken) if isinstance(images, StreamedImages) else images[taken],
        images_at={},
        labels=dataset.labels[taken],
        targets=None if dataset.targets is None else dataset.targets[taken],
        weights=None if dataset.weights is None else dataset.weights[taken],
        train=np.arange(len(sides[0])),
        validation=np.arange(len(sides[0]), len(taken)),
        fingerprint=identity,  # a new one, so that features cached for the whole data set are not used for the sample
    )


def _drawn(dataset: Dataset, side: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws about `count` of a side's positions: one of each class, then random ones."""
    order = random_state(seed, "dry_run").permutation(side)
    of_each_class = np.unique(dataset.labels[order], return_index=True)[1]
    others = np.delete(order, of_each_class)
    return np.concatenate([order[of_each_class], others[: max(0, count - len(of_each_class))]])


@torch.inference_mode()
def _shapes(
    model: StagedModel, cut: int, shape: tuple[int, ...], batch: int, device: torch.device
) -> dict[str, tuple[int, ...]]:
    """Shapes of a batch on its way through the network, by the field names of `StageCost`."""
    model.eval()
    image = torch.zeros(1, *shape, device=device)
    features = model.prefix(image, cut)
    logits = model.tail(cut).eval()(features)
    flow = {"batch": image, "features": features, "logits": logits}
    return {name: (batch, *tensor.shape[1:]) for name, tensor in flow.items()}
