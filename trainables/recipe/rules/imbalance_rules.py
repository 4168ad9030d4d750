"""Rules for corrections of class imbalance: balanced sampling, class weights, re-weighting, and losses that know the class counts.

Each corrects all of it, so that two of them would correct it twice; only LDAM is meant to be combined, with DRW."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainables.core.config_errors import Problem, listed, nearest
from trainables.recipe.loss_config import loss_spec
from trainables.recipe.train_config import TrainConfig


def corrects_imbalance(train: TrainConfig) -> bool:
    """Returns True if the loss corrects uneven classes by itself."""
    spec, loss = loss_spec(train.loss), train.loss
    return spec.corrects_imbalance and not (spec.prior_power and getattr(loss, spec.prior_power) == 0)


def balance_rule(train: TrainConfig) -> str | None:
    """Reason why `train.balance` does not fit the loss, or None."""
    if train.balance in {"none", "auto"} or not corrects_imbalance(train):
        return None
    return _twice(repr(train.balance), train, "balance: none")


def class_weights_rule(train: TrainConfig) -> str | None:
    """Reason why `train.class_weights` does not fit the loss or has no effect, or None."""
    given = train.class_weights
    if given is None:
        return None
    if corrects_imbalance(train):
        return _twice("class_weights", train, "class_weights: null")
    if isinstance(given, tuple) and len(set(given)) == 1:
        return "all classes have the same weight; give them different ones, or set class_weights: null"
    if isinstance(given, Mapping) and set(given.values()) <= {1.0}:
        return "all classes have weight 1, as without it; give them different ones, or set class_weights: null"
    return None


def drw_rule(train: TrainConfig) -> str | None:
    """Reason why `train.drw` does not fit the loss or has no effect, or None."""
    if train.drw is None:
        return None
    if train.drw.beta == 0:
        return "with beta 0 all classes have the same weight; raise it, or set drw: null"
    if loss_spec(train.loss).prior_power and corrects_imbalance(train):
        return _twice("drw", train, "drw: null")
    return None


def corrected_twice(train: TrainConfig) -> list[Problem]:
    """Problems of corrections beside a loss that corrects the imbalance itself; others are errors of `TrainConfig`."""
    if not corrects_imbalance(train):
        return []
    found = {"balance": balance_rule(train), "class_weights": class_weights_rule(train), "drw": drw_rule(train)}
    return [Problem(("train", key), reason) for key, reason in found.items() if reason]


def class_weight_problems(train: TrainConfig, classes: Sequence[str]) -> list[Problem]:
    """Problems of `train.class_weights` with the classes, which are known only once the data are read."""
    given, place = train.class_weights, ("train", "class_weights")
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in classes]
        return [Problem((*place, name), f"{name!r} is not a class; {nearest(name, classes)}") for name in unknown]
    if given is not None and len(given) != len(classes):
        return [Problem(place, f"{len(given)} weights for {len(classes)} classes ({listed(list(classes))})")]
    return []


def _twice(what: str, train: TrainConfig, mend: str) -> str:
    return f"{what} and train.loss {train.loss.kind!r} would correct the imbalance twice; set {mend}, or another loss"
