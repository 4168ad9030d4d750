"""Corrections of class imbalance: the choice between balanced sampling and class weights, and weights given as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from trainables.core.config_errors import ConfigError
from trainables.recipe.rules.imbalance_rules import class_weight_problems, corrects_imbalance
from trainables.recipe.train_config import TrainConfig

Balance = Literal["none", "sampler", "class_weights"]


def chosen_balance(train: TrainConfig, counts: np.ndarray) -> Balance:
    """Resolves `train.balance` for the given class counts.

    `auto` chooses `none` if the loss, DRW or given class weights already correct the imbalance, or if the classes are nearly
    balanced. It chooses balanced sampling if most batches would lack the rarest class (a weight on an absent class has no effect),
    else class weights.

    Args:
        train: training section of the recipe.
        counts: [c] training images of each class; each at least 1.
    """
    if train.balance != "auto":
        return train.balance
    corrected = train.drw is not None or train.class_weights is not None or corrects_imbalance(train)
    if corrected or counts.max() < 1.5 * counts.min():
        return "none"
    smallest_batch = min(stage.batch_size or train.batch_size for stage in train.stages)
    expected_in_batch = smallest_batch * counts.min() / counts.sum()
    return "sampler" if expected_in_batch < 1 else "class_weights"


def given_weights(train: TrainConfig, classes: Sequence[str]) -> np.ndarray | None:
    """Weights [c] of `train.class_weights` with mean 1; None if there are none.

    Args:
        train: training section of the recipe.
        classes: class names.
    Raises:
        ConfigError: at `train.class_weights`, if it does not fit the classes.
    """
    given = train.class_weights
    if given is None:
        return None
    if problems := class_weight_problems(train, classes):
        raise ConfigError(problems)
    weights = np.array([given.get(name, 1.0) for name in classes] if isinstance(given, Mapping) else given, np.float64)
    scaled: np.ndarray = weights / weights.mean()
    return scaled
