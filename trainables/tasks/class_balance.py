"""Choice between balanced sampling and class weights, which exclude each other."""

from __future__ import annotations

from typing import Literal

import numpy as np

from trainables.recipe.loss_config import loss_spec
from trainables.recipe.train_config import TrainConfig

Balance = Literal["none", "sampler", "class_weights"]


def chosen_balance(train: TrainConfig, counts: np.ndarray) -> Balance:
    """Resolves `train.balance` for the given class counts.

    `auto` chooses `none` if the loss or DRW already corrects the imbalance, or if the classes are nearly balanced. It chooses
    balanced sampling if most batches would lack the rarest class (a weight on an absent class has no effect), else class weights.

    Args:
        train: training section of the recipe.
        counts: [c] training images of each class; each at least 1.
    """
    if train.balance != "auto":
        return train.balance
    corrected = train.drw is not None or loss_spec(train.loss).corrects_imbalance
    if corrected or counts.max() < 1.5 * counts.min():
        return "none"
    smallest_batch = min(stage.batch_size or train.batch_size for stage in train.stages)
    expected_in_batch = smallest_batch * counts.min() / counts.sum()
    return "sampler" if expected_in_batch < 1 else "class_weights"
