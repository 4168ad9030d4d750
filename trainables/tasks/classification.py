"""`Task`: training loss and validation of a run, for classification or regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.data.batches.mixing import Mixing
from trainables.data.dataset import Dataset
from trainables.recipe.loss_config import loss_spec
from trainables.recipe.recipe import Recipe
from trainables.recipe.train_config import TrainConfig
from trainables.tasks.class_balance import Balance, chosen_balance, given_weights
from trainables.tasks.class_prior import learned_prior
from trainables.tasks.classification_loss import build_loss
from trainables.tasks.losses import inverse_frequency_weights
from trainables.tasks.metrics import Evaluation, evaluate
from trainables.tasks.regression import Regression


class Task(Protocol):
    """Interface between a trainer and the task it trains for."""

    @property
    def outputs(self) -> int:
        """Number of the network's outputs for each image."""

    @property
    def cosine_scale(self) -> float | None:
        """Scale of a cosine head; None: the head is linear."""

    @property
    def balanced(self) -> bool:
        """True if each class is to be drawn equally often."""

    @property
    def constants(self) -> Mapping[str, float]:
        """Constants from the training split that turn outputs into predictions."""

    def loss(
        self, outputs: Tensor, truth: Tensor, /, *, reweighted: bool, mixing: Mixing | None, weights: Tensor | None
    ) -> Tensor:
        """Training loss.

        Args:
            outputs: [b, c] outputs of the network.
            truth: [b] classes or targets.
            reweighted: whether DRW's class weights are used.
            mixing: mixing of the images; None: not mixed.
            weights: [b] weight of each image; None: all equal.
        Returns:
            [] weighted mean.
        """

    def predictions(self, outputs: Tensor, /) -> np.ndarray:
        """Turns outputs [n, c] into probabilities [n, c] or numbers [n], float64."""

    def validate(self, outputs: Tensor, truth: Tensor, /, *, reweighted: bool) -> tuple[float, Evaluation]:
        """Validates outputs.

        Args:
            outputs: [n, c] outputs of the network.
            truth: [n] classes or targets.
            reweighted: whether the epoch trained with DRW's class weights.
        Returns:
            Validation loss, which does not depend on the training loss; and the other metrics.
        """


def task_of(recipe: Recipe, dataset: Dataset, *, device: torch.device) -> Task:
    """Builds the task of a recipe.

    Args:
        recipe: recipe of the run.
        dataset: data set of the run.
        device: device of the outputs.
    """
    if recipe.data.task == "regression":
        return Regression(recipe, dataset)
    return Classification(recipe, dataset, device=device)


class Classification:
    """Prediction of one of several classes for each image."""

    def __init__(self, recipe: Recipe, dataset: Dataset, *, device: torch.device):
        """Builds the loss from the recipe and the class counts.

        Args:
            recipe: recipe of the run.
            dataset: data set of the run.
            device: device of the outputs.
        """
        train = recipe.train
        spec = loss_spec(train.loss)
        assert spec.task == "classification"
        # Counts of all training images, even in a stage that sees a part of them: that part has the same class shares, and margins
        # and weights that changed between stages would make the loss of each stage a different one.
        self._config, self._counts = train.loss, dataset.train_counts
        balance = chosen_balance(train, self._counts)
        self.balanced = balance == "sampler"
        """True if each class is to be drawn equally often."""
        self.outputs = len(dataset.classes)
        self.cosine_scale: float | None = getattr(train.loss, spec.cosine_scale) if spec.cosine_scale else None
        """Scale of a cosine head; None: the head is linear."""
        self._loss = build_loss(
            train.loss,
            torch.from_numpy(self._counts),
            drw=train.drw,
            class_weights=self._class_weights(train, dataset.classes, balance),
            device=device,
        )

    def _class_weights(self, train: TrainConfig, classes: Sequence[str], balance: Balance) -> Tensor | None:
        """Class weights [c] before re-weighting; None: all equal."""
        if (given := given_weights(train, classes)) is not None:
            return torch.from_numpy(given)
        return inverse_frequency_weights(torch.from_numpy(self._counts)) if balance == "class_weights" else None

    @property
    def constants(self) -> Mapping[str, float]:
        """Empty: the prediction is the most probable class."""
        return {}

    def loss(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        reweighted: bool,
        mixing: Mixing | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Training loss.

        Args:
            logits: [b, c].
            labels: [b] classes.
            reweighted: whether DRW's class weights are used.
            mixing: mixing of the images; None: not mixed.
            weights: [b] weight of each image, multiplied with that of its class; None: all equal.
        Returns:
            [] weighted mean.
        """
        if mixing is None:
            return self._loss(logits, labels, reweighted=reweighted, image_weights=weights)
        own, others = mixing.share, 1 - mixing.share
        if weights is not None:
            own, others = own * weights, others * weights[mixing.partners]
        return self._loss.mixed_loss(logits, labels, labels[mixing.partners], own, others, reweighted=reweighted)

    def predictions(self, logits: Tensor) -> np.ndarray:
        """Turns logits into probabilities, [n, c] float64."""
        probabilities: np.ndarray = logits.double().softmax(dim=1).cpu().numpy()
        return probabilities

    def validate(self, logits: Tensor, labels: Tensor, *, reweighted: bool) -> tuple[float, Evaluation]:
        """Validates logits.

        Args:
            logits: [n, c].
            labels: [n] classes.
            reweighted: whether the epoch trained with DRW's class weights, on which the corrected metrics depend.
        Returns:
            Validation loss, the plain cross-entropy whatever the training loss and its weights; and the other metrics.
        """
        prior = self.learned_prior(reweighted=reweighted)
        return float(F.cross_entropy(logits.double(), labels)), evaluate(
            self.predictions(logits), labels.cpu().numpy(), learned_prior=prior
        )

    def learned_prior(self, *, reweighted: bool) -> np.ndarray:
        """Class shares [c] contained in the network's probabilities; see `prior.learned_prior`."""
        weights = self._loss.weights(reweighted=reweighted)
        return learned_prior(
            self._config,
            self._counts,
            weights=None if weights is None else weights.cpu().numpy(),
            evenly_drawn=self.balanced,
        )
