"""Regression: a number for each image."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from trainables.data.dataset import Dataset
from trainables.metrics import Evaluation
from trainables.recipe import Recipe
from trainables.regression_config import Huber, Mse
from trainables.regression_metrics import evaluate_numbers


class Regression:
    """A number for each image, which the network gives in standard deviations of the training targets above their mean."""

    balanced = False
    outputs = 1
    cosine_scale = None

    def __init__(self, recipe: Recipe, dataset: Dataset):
        loss, targets = recipe.train.loss, dataset.targets
        assert isinstance(loss, Huber | Mse)
        assert targets is not None
        self._config = loss
        self._mean, self._std = float(targets[dataset.train].mean()), float(targets[dataset.train].std())

    @property
    def constants(self) -> Mapping[str, float]:
        """A prediction is `target_mean` + `target_std` · output."""
        return {"target_mean": self._mean, "target_std": self._std}

    def loss(self, outputs: Tensor, targets: Tensor, *, reweighted: bool) -> Tensor:  # noqa: ARG002
        """[] what training minimises: on standardised targets, in float32.

        Args:
            outputs: [b, 1].
            targets: [b] float64, in their own unit.
        """
        predicted, true = outputs.float().squeeze(1), self._standardised(targets).float()
        if isinstance(self._config, Huber):
            return F.huber_loss(predicted, true, delta=self._config.delta)
        return F.mse_loss(predicted, true)

    def judge(self, outputs: Tensor, targets: Tensor, *, reweighted: bool) -> tuple[float, Evaluation]:  # noqa: ARG002
        """Mean squared error in variances of the training targets, whatever the loss; and all other metrics, in the targets' unit.

        Args:
            outputs: [n, 1].
            targets: [n] float64, in their own unit.
        """
        predicted = outputs.double().squeeze(1)
        numbers = predicted * self._std + self._mean
        val_loss = float(F.mse_loss(predicted, self._standardised(targets)))
        return val_loss, evaluate_numbers(numbers.cpu().numpy(), targets.cpu().numpy())

    def _standardised(self, targets: Tensor) -> Tensor:
        return (targets - self._mean) / self._std
