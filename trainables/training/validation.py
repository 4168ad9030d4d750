"""Validation of the weights that are judged, and of those that are not: an average is compared with what it averages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainables.core.vocabulary import Metric, metric_of_weights
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
    """What tails make of the same images, whose frozen blocks run once for all of them.

    Returns:
        [n, c] for each tail, and the truth [n].
    """
    outputs: list[list[Tensor]] = [[] for _ in tails]
    truth = []
    for batch in batches:
        with autocast(device, train):
            for tail, of_tail in zip(tails, outputs, strict=True):
                of_tail.append(replicas.gathered(tail(batch.features), images=len(batch.labels)))
        truth.append(batch.labels)
    return [torch.cat(of_tail) for of_tail in outputs], torch.cat(truth)


def with_others(
    judged: tuple[float, Evaluation], others: Mapping[str, tuple[float, Evaluation]], metric: Metric
) -> Evaluation:
    """The evaluation of what is judged, its loss included; and the loss and the metric of other weights under their names.

    Args:
        judged, others: validation loss and all else, of the weights that are judged and of others by name.
        metric: the one that judges.
    """
    loss, evaluation = judged
    metrics = {**evaluation.metrics, Metric.VAL_LOSS.value: loss}
    for name, (other_loss, other) in others.items():
        values = {**other.metrics, Metric.VAL_LOSS.value: other_loss}
        metrics |= {metric_of_weights(name, m): values[m] for m in (Metric.VAL_LOSS, metric)}
    return replace(evaluation, metrics=metrics)
