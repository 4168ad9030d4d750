"""Which way of balancing a run uses: balanced sampling and class weights exclude each other."""

from __future__ import annotations

from typing import Literal

import numpy as np

from trainables.recipe.loss_config import loss_spec
from trainables.recipe.train_config import TrainConfig

Balance = Literal["none", "sampler", "class_weights"]


def chosen_balance(train: TrainConfig, counts: np.ndarray) -> Balance:
    """What `balance` comes to for these classes.

    `auto` leaves alone what the loss or DRW already corrects and what is balanced; it draws rare classes more often where a
    batch would mostly lack the rarest one (a weight on a class that is not there teaches nothing), and weighs classes otherwise.

    Args:
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
