"""Training pass of an epoch: every batch once through the part of the network that trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

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
    accuracy: float | None
    """Share of the images that were classified right when they were trained on; None if it was not to be measured."""
    grad_norm: float | None
    """Norm of the gradient before clipping, mean over the measured steps; None if each of them overflowed."""
    steps: int
    """Number of optimizer steps."""


GRAD_NORM_EVERY = 8
"""Number of steps from one whose gradient's norm is measured to the next, if it is not clipped: measuring each would cost up to
3 % of a step on CPU."""


def train_epoch(
    steps: Iterable[list[Batch]],
    active: ActiveStage,
    task: Task,
    train: TrainConfig,
    *,
    device: torch.device,
    replicas: Replicas,
    reweighted: bool,
    accuracy: bool,
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
        accuracy: whether to measure the accuracy; the outputs must be scores of classes and the images not mixed with each other.
    """
    total, images, count = torch.zeros((), device=device), 0, 0
    predicted: list[Tensor] = []
    truth: list[Tensor] = []
    norms: list[Tensor] = []
    for step in steps:
        images_in_step = sum(len(batch.labels) for batch in step)
        for features, labels, weights, mixing in step:
            with autocast(device, train):
                outputs = replicas.gathered(active.tail(features), images=len(labels))
            loss = task.loss(outputs, labels, reweighted=reweighted, mixing=mixing, weights=weights)
            active.backward(loss * (len(labels) / images_in_step))
            total += loss.detach() * len(labels)
            if accuracy:
                predicted.append(outputs.detach().argmax(dim=1))
                truth.append(labels)
        if (norm := active.step(measure=count % GRAD_NORM_EVERY == 0)) is not None:
            norms.append(norm)
        images += images_in_step
        count += 1
    return TrainedEpoch(
        loss=float(total) / images,
        accuracy=int((torch.cat(predicted) == torch.cat(truth)).sum()) / images if accuracy else None,
        grad_norm=float(torch.stack(norms).mean()) if norms else None,
        steps=count,
    )


def shown(steps: Iterable[list[Batch]], show: Callable[[int, int], None], total: int) -> Iterator[list[Batch]]:
    """Yields the steps, and reports after each that it is done.

    Args:
        steps: batches of each step.
        show: called with the number of steps done, and of all.
        total: number of steps.
    """
    for done, step in enumerate(steps):
        show(done, total)
        yield step
    show(total, total)
