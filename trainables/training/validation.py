"""Validation of the scored weights, and for comparison of the others in a run with a weight average."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainables.core.vocabulary import Metric, metric_of_weights
from trainables.models import precision
from trainables.models.precision import autocast
from trainables.recipe.train_config import TrainConfig
from trainables.tasks.metrics import Evaluation
from trainables.training.batch_feed import Batch
from trainables.training.replicas import Replicas


@torch.inference_mode()
def outputs_of(
    tails: Sequence[nn.Module],
    batches: Iterable[Batch],
    train: TrainConfig,
    *,
    device: torch.device,
    replicas: Replicas,
) -> tuple[list[Tensor], Tensor]:
    """Computes the outputs of several tails for the same images; frozen blocks run only once for all of them.

    Args:
        tails: tails to validate.
        batches: batches of this process, as `Feed.validation` yields them.
        train: training section of the recipe.
        device: device of the tails.
        replicas: processes that share each batch.
    Returns:
        Outputs [n, c] of each tail, and the truth [n].
    """
    outputs: list[list[Tensor]] = [[] for _ in tails]
    truth = []
    for batch in batches:
        with autocast(device, train):
            for tail, of_tail in zip(tails, outputs, strict=True):
                of_tail.append(replicas.gathered(tail(batch.features), images=len(batch.labels)))
        truth.append(batch.labels)
    # Metrics are computed in float64, which mps lacks.
    home = torch.device("cpu") if device.type == precision.APPLE else device
    return [torch.cat(of_tail).to(home) for of_tail in outputs], torch.cat(truth).to(home)


def with_others(
    scored: tuple[float, Evaluation], others: Mapping[str, tuple[float, Evaluation]], metric: Metric
) -> Evaluation:
    """Adds to the evaluation of the scored weights its validation loss, and the loss and the metric of the other weights.

    Args:
        scored: validation loss and evaluation of the scored weights.
        others: the same of the other weights, by name.
        metric: metric of the run.
    """
    loss, evaluation = scored
    metrics = {**evaluation.metrics, Metric.VAL_LOSS.value: loss}
    for name, (other_loss, other) in others.items():
        values = {**other.metrics, Metric.VAL_LOSS.value: other_loss}
        metrics |= {metric_of_weights(name, m): values[m] for m in (Metric.VAL_LOSS, metric)}
    return replace(evaluation, metrics=metrics)
