"""What a run learns, and how its outputs are judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.data.batches.mixing import Mixing
from trainables.data.dataset import Dataset
from trainables.recipe.loss_config import loss_spec
from trainables.recipe.recipe import Recipe
from trainables.tasks.class_balance import chosen_balance
from trainables.tasks.class_prior import learned_prior
from trainables.tasks.classification_loss import build_loss
from trainables.tasks.metrics import Evaluation, evaluate
from trainables.tasks.regression import Regression


class Task(Protocol):
    """What a trainer asks of the task it trains for."""

    @property
    def outputs(self) -> int:
        """Of the network, for each image."""

    @property
    def cosine_scale(self) -> float | None:
        """Of the last layer; None: it is linear."""

    @property
    def balanced(self) -> bool:
        """Whether each class is to be drawn equally often."""

    @property
    def constants(self) -> Mapping[str, float]:
        """What was learned from the training split beside the weights, and turns outputs into predictions."""

    def loss(
        self, outputs: Tensor, truth: Tensor, /, *, reweighted: bool, mixing: Mixing | None, weights: Tensor | None
    ) -> Tensor:
        """[] what training minimises; see `Classification.loss`."""

    def judge(self, outputs: Tensor, truth: Tensor, /, *, reweighted: bool) -> tuple[float, Evaluation]:
        """The validation loss, which no training loss moves; and all other metrics."""


def task_of(recipe: Recipe, dataset: Dataset, *, device: torch.device) -> Task:
    """The task that a recipe names."""
    if recipe.data.task == "regression":
        return Regression(recipe, dataset)
    return Classification(recipe, dataset, device=device)


class Classification:
    """One class of several for each image."""

    def __init__(self, recipe: Recipe, dataset: Dataset, *, device: torch.device):
        train = recipe.train
        spec = loss_spec(train.loss)
        assert spec.task == "classification"
        # Of all training images, also in a stage that sees a part of them: each class gives the same share of its own to it, so
        # that priors stay, and margins and weights that moved from stage to stage would be another loss in each.
        self._config, self._counts = train.loss, dataset.train_counts
        balance = chosen_balance(train, self._counts)
        self.balanced = balance == "sampler"
        """Whether each class is to be drawn equally often."""
        self.outputs = len(dataset.classes)
        self.cosine_scale: float | None = getattr(train.loss, spec.cosine_scale) if spec.cosine_scale else None
        """Of the last layer; None: it is linear."""
        self._loss = build_loss(
            train.loss,
            torch.from_numpy(self._counts),
            drw=train.drw,
            class_weights=balance == "class_weights",
            device=device,
        )

    @property
    def constants(self) -> Mapping[str, float]:
        """None: the most probable class is predicted."""
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
        """[] what training minimises.

        Args:
            logits: [b, c].
            labels: [b].
            reweighted: whether DRW's class weights are in force.
            mixing: what was done to the images; None: nothing.
            weights: [b] how much each image counts, beside its class; None: all alike.
        """
        if mixing is None:
            return self._loss(logits, labels, reweighted=reweighted, image_weights=weights)
        own, others = mixing.share, 1 - mixing.share
        if weights is not None:
            own, others = own * weights, others * weights[mixing.partners]
        return self._loss.of_mixed(logits, labels, labels[mixing.partners], own, others, reweighted=reweighted)

    def judge(self, logits: Tensor, labels: Tensor, *, reweighted: bool) -> tuple[float, Evaluation]:
        """Plain cross-entropy, which no loss, margin or weight moves; and all other metrics.

        Args:
            logits: [n, c].
            labels: [n].
            reweighted: whether the epoch trained with DRW's weights, which decide what the corrected metrics correct.
        """
        logits = logits.double()
        probabilities = logits.softmax(dim=1).cpu().numpy()
        prior = self.learned_prior(reweighted=reweighted)
        return float(F.cross_entropy(logits, labels)), evaluate(
            probabilities, labels.cpu().numpy(), learned_prior=prior
        )

    def learned_prior(self, *, reweighted: bool) -> np.ndarray:
        """[c] see `prior.learned_prior`."""
        weights = self._loss.weights(reweighted=reweighted)
        return learned_prior(
            self._config,
            self._counts,
            weights=None if weights is None else weights.cpu().numpy(),
            evenly_drawn=self.balanced,
        )
