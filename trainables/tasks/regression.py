"""`Regression`: task of predicting a number for each image."""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.data.batches.mixing import Mixing
from trainables.data.dataset import Dataset
from trainables.recipe.loss_config import loss_spec
from trainables.recipe.recipe import Recipe
from trainables.tasks.losses import RegressionLossFunction
from trainables.tasks.metrics import Evaluation
from trainables.tasks.regression_metrics import evaluate_numbers
from trainables.tasks.target_scale import fitted_scale


class Regression:
    """Prediction of a number for each image.

    The network outputs standard deviations of the training targets above their mean, on the scale of `data.target`.
    """

    balanced = False
    outputs = 1
    cosine_scale = None

    def __init__(self, recipe: Recipe, dataset: Dataset):
        spec, targets = loss_spec(recipe.train.loss), dataset.targets
        assert spec.task == "regression"
        assert targets is not None
        self._loss: RegressionLossFunction = resolve_name(spec.build)(recipe.train.loss)
        self.scale = fitted_scale(targets[dataset.train], recipe.data.transform)

    @property
    def constants(self) -> Mapping[str, float]:
        """Constants that turn outputs into predictions: `target_mean` + `target_std` · output, on the scale of `data.target`."""
        return {"target_mean": self.scale.mean, "target_std": self.scale.std}

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        reweighted: bool,  # noqa: ARG002
        mixing: Mixing | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Training loss, on standardised targets and in float32.

        Args:
            outputs: [b, 1].
            targets: [b] float64, in their own unit.
            reweighted: ignored; regression has no class weights.
            mixing: mixing of the images, whose losses for both targets are weighted by their shares; None: not mixed.
            weights: [b] weight of each image; None: all equal.
        Returns:
            [] weighted mean.
        """
        predicted, true = outputs.float().squeeze(1), self.scale.outputs(targets).float()
        if mixing is None and weights is None:
            return self._loss(predicted, true, reduction="mean")
        count = torch.ones_like(predicted) if weights is None else weights
        losses, total = count * self._loss(predicted, true, reduction="none"), count.sum()
        if mixing is not None:
            own, foreign = mixing.share * count, (1 - mixing.share) * count[mixing.partners]
            losses = own * self._loss(predicted, true, reduction="none")
            losses = losses + foreign * self._loss(predicted, true[mixing.partners], reduction="none")
            total = (own + foreign).sum()
        return losses.sum() / total.clamp_min(torch.finfo(torch.float32).tiny)  # all weights of a batch may be 0

    def predictions(self, outputs: Tensor) -> np.ndarray:
        """Turns outputs [n, 1] into numbers in the targets' unit, [n] float64."""
        numbers: np.ndarray = self.scale.targets(outputs.double().squeeze(1)).cpu().numpy()
        return numbers

    def validate(self, outputs: Tensor, targets: Tensor, *, reweighted: bool) -> tuple[float, Evaluation]:  # noqa: ARG002
        """Validates predictions.

        Args:
            outputs: [n, 1].
            targets: [n] float64, in their own unit.
            reweighted: ignored; regression has no class weights.
        Returns:
            Validation loss, the mean squared error over the variance of the training targets on the scale of `data.target`,
            whatever the training loss; and the other metrics, in the targets' unit.
        """
        val_loss = float(F.mse_loss(outputs.double().squeeze(1), self.scale.outputs(targets)))
        return val_loss, evaluate_numbers(self.predictions(outputs), targets.cpu().numpy())
