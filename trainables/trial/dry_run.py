"""What the stages of a recipe cost, measured: a few real batches through the real trainer, of which nothing is kept."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from trainables.core.seeding import random_state
from trainables.data.dataset import Dataset
from trainables.data.stage_view import data_of_stage
from trainables.models.staged_model import StagedModel
from trainables.recipe.backbone_catalog import backbone_info
from trainables.recipe.prefix_rules import why_uncached
from trainables.recipe.recipe import Recipe
from trainables.storage import cache_folder
from trainables.training.trainer import Trainer, device_of
from trainables.trial.peak_memory import PeakMemory

_MEASURE_FOR_S = 2.0
"""Batches are taken until a measured epoch should take about this long."""
_MOST_BATCHES = 12
_MANY = 1_000_000
"""Runs that a search may have: what can be kept for them is."""


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One stage of a recipe, tried on a few batches."""

    stage: str
    unfreeze_from: str
    cut: int
    """Position of the first block that trains."""
    epochs: int
    """The most the stage may take."""
    batch: tuple[int, ...]
    """[b, c, h, w], or [b, c, d, h, w], as the network sees a batch."""
    features: tuple[int, ...]
    """What the frozen blocks make of it, and the open ones take."""
    logits: tuple[int, ...]
    """[b, c]"""
    trained_parameters: int
    """Numbers that the stage moves, the head's included."""
    train_loss: float
    """Of the first epoch over a single batch: before anything is learned."""
    val_loss: float
    """After an epoch or two of that."""
    train_s: float
    """Seconds an epoch of the whole data set trains for, extrapolated; with the features of frozen blocks at hand where these
    can be kept."""
    val_s: float
    """Seconds its validation takes."""
    cache_s: float
    """Seconds in which those features are computed, once for all trials."""
    cache_bytes: int
    """What they take on disk."""
    images: int
    """Images that were measured, both sides together."""

    @property
    def finite(self) -> bool:
        """Whether the losses are numbers."""
        return math.isfinite(self.train_loss) and math.isfinite(self.val_loss)

    @property
    def epoch_s(self) -> float:
        return self.train_s + self.val_s


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Stages tried one after the other."""

    stages: tuple[StageCost, ...]
    ram_bytes: int
    """Most that models, optimizers and batches took in RAM, beside what the process held before."""
    gpu_bytes: int | None
    """Most that tensors took on the GPU; None on the CPU."""


def dry_run(stages: Sequence[tuple[Recipe, int]], dataset: Dataset) -> DryRun:
    """Tries some stages, each given as a recipe and its index there; all recipes train on the same kind of device.

    Raises:
        ConfigError: if the weights cannot be had, or a recipe needs a GPU that is not there.
    """
    # All stages under one watch: what one has taken from the system, the next one takes over.
    with PeakMemory(device_of(stages[0][0])) as peak:
        costs = tuple(measure_stage(recipe, index, dataset) for recipe, index in stages)
    return DryRun(stages=costs, ram_bytes=peak.ram_bytes, gpu_bytes=peak.gpu_bytes)


def measure_stage(recipe: Recipe, index: int, dataset: Dataset) -> StageCost:
    """Trains a stage on a few batches, from the pretrained weights and with the head at work.

    Raises:
        ConfigError: if the weights cannot be had, or the recipe needs a GPU that is not there.
    """
    stage, batch_size, seed = recipe.train.stages[index], recipe.batch_size(index), recipe.train.seed
    dataset = data_of_stage(recipe, dataset, index)
    alone = _alone(recipe, index)
    one_batch = sample(dataset, batch_size, seed=seed)
    trainer = Trainer(_computing(alone), one_batch)
    first, second = next(trainer), next(trainer)  # the first epoch also pays for memory and kernels
    batches = int(min(_MOST_BATCHES, max(1, _MEASURE_FOR_S / (second.train_s + second.val_s))))
    data = sample(dataset, batch_size * batches, seed=seed)
    with cache_folder.temporary():
        building, measured = Trainer(alone, data, sharing_runs=_MANY)
        cache_bytes = sum(entry.bytes for entry in cache_folder.entries())
    share = len(data.train) / len(dataset.train)
    views = (recipe.train.augment.views or 1) if recipe.train.augment else 1
    model, cut, channels = trainer.model, recipe.cut(index), backbone_info(recipe.model.backbone).channels
    return StageCost(
        stage=stage.name,
        unfreeze_from=stage.unfreeze_from,
        cut=cut,
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
    )


def _alone(recipe: Recipe, index: int) -> Recipe:
    """The stage by itself, for as many epochs as are asked of it; the head trains in all of them."""
    alone = {"epochs": 2, "plateau": None, "head_frozen_epochs": 0, "image_size": None, "data_fraction": 1.0}
    stage = recipe.train.stages[index].model_copy(update=alone)
    # No flag stops it: a loss that is no number is something to report.
    kept = not why_uncached(recipe, index)
    changes: dict[str, object] = {"stages": (stage,), "early_stop": None, "stop_on": (), "changes": ()}
    changes["prefix_cache"] = kept
    augment = recipe.train.augment
    if augment and augment.views:  # one of them, so that the second epoch finds what the first has kept
        changes["augment"] = augment.model_copy(update={"views": 1})
    train, data = recipe.train.model_copy(update=changes), recipe.data.at_size(recipe.image_size(index))
    return recipe.model_copy(update={"train": train, "data": data})


def _computing(recipe: Recipe) -> Recipe:
    """The same, with nothing kept."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"prefix_cache": False})})


def sample(dataset: Dataset, count: int, *, seed: int) -> Dataset:
    """A small data set in memory: about `count` images on each side, at least one of each class."""
    sides = [_drawn(dataset, side, count, seed) for side in (dataset.train, dataset.validation)]
    taken = np.concatenate(sides)
    identity = hashlib.sha256(dataset.fingerprint.encode() + taken.tobytes()).hexdigest()
    return replace(
        dataset,
        images=dataset.images[taken],
        images_at={},
        labels=dataset.labels[taken],
        targets=None if dataset.targets is None else dataset.targets[taken],
        weights=None if dataset.weights is None else dataset.weights[taken],
        train=np.arange(len(sides[0])),
        validation=np.arange(len(sides[0]), len(taken)),
        fingerprint=identity,  # of its own: nothing that is kept for the whole data set may be mistaken for the sample's
    )


def _drawn(dataset: Dataset, side: np.ndarray, count: int, seed: int) -> np.ndarray:
    """[about count] of the positions of a side: one of each class, then any."""
    order = random_state(seed, "dry_run").permutation(side)
    of_each_class = np.unique(dataset.labels[order], return_index=True)[1]
    others = np.delete(order, of_each_class)
    return np.concatenate([order[of_each_class], others[: max(0, count - len(of_each_class))]])


@torch.inference_mode()
def _shapes(
    model: StagedModel, cut: int, shape: tuple[int, ...], batch: int, device: torch.device
) -> dict[str, tuple[int, ...]]:
    """What flows through the network, as `StageCost` names it."""
    model.eval()
    image = torch.zeros(1, *shape, device=device)
    features = model.prefix(image, cut)
    logits = model.tail(cut).eval()(features)
    flow = {"batch": image, "features": features, "logits": logits}
    return {name: (batch, *tensor.shape[1:]) for name, tensor in flow.items()}
