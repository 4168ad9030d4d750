"""Training pass of an epoch: every batch once through the part of the network that trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from trainables.models.precision import autocast
from trainables.recipe.train_config import TrainConfig
from trainables.tasks.classification import Task
from trainables.training.active_stage import ActiveStage
from trainables.training.batch_feed import Batch
from trainables.training.replicas import Replicas


@dataclass(frozen=True, kw_only=True)
class TrainedEpoch:
    """Measurements of a training pass."""

    loss: float
    """Mean training loss."""
    steps: int
    """Number of optimizer steps."""


def train_epoch(
    steps: Iterable[list[Batch]],
    active: ActiveStage,
    task: Task,
    train: TrainConfig,
    *,
    device: torch.device,
    replicas: Replicas,
    reweighted: bool,
) -> TrainedEpoch:
    """Trains for an epoch.

    Args:
        steps: batches of each optimizer step, as `Feed.steps` yields them.
        active: stage that trains.
        task: task of the run, with the training loss.
        train: training section of the recipe.
        device: device of the network.
        replicas: processes that train the run together.
        reweighted: whether DRW's class weights are used.
    """
    total, images, count = torch.zeros((), device=device), 0, 0
    for step in steps:
        images_in_step = sum(len(batch.labels) for batch in step)
        for features, labels, weights, mixing in step:
            with autocast(device, train):
                outputs = replicas.gathered(active.tail(features), images=len(labels))
            loss = task.loss(outputs, labels, reweighted=reweighted, mixing=mixing, weights=weights)
            active.backward(loss * (len(labels) / images_in_step))
            total += loss.detach() * len(labels)
        active.step()
        images += images_in_step
        count += 1
    return TrainedEpoch(loss=float(total) / images, steps=count)
