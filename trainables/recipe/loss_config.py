"""`train.loss` and `train.drw` of a recipe, and the declaration of each loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from trainables.core.config_errors import Config
from trainables.core.vocabulary import Task


class Huber(Config):
    """Half the squared error up to `delta`, linear beyond (Huber 1964): outliers pull no harder than an error of `delta`."""

    kind: Literal["huber"]
    delta: float = Field(1.0, gt=0)
    """Error from which the loss is linear, in standard deviations of the training targets."""


class Mse(Config):
    """Mean squared error."""

    kind: Literal["mse"]


class CrossEntropy(Config):
    """Cross-entropy."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes (Szegedy et al. 2016)."""


class Focal(Config):
    """Cross-entropy that gives less weight to images that are easy to classify (Lin et al. 2017)."""

    kind: Literal["focal"]
    gamma: float = Field(2.0, ge=0)
    """Focusing exponent: 0 is cross-entropy; larger values give easy images less weight."""


class BalancedSoftmax(Config):
    """Cross-entropy of logits shifted by the log prior (Ren et al. 2020; with tau, logit adjustment of Menon et al. 2021)."""

    kind: Literal["balanced_softmax"]
    tau: float = Field(1.0, ge=0)
    """Weight of the log prior; 1 is balanced softmax."""


class Ldam(Config):
    """Label-distribution-aware margins on a cosine head (Cao et al. 2019). Usually with `drw`."""

    kind: Literal["ldam"]
    max_margin: float = Field(0.5, ge=0)
    """Margin of the rarest class, as a cosine."""
    scale: float = Field(30.0, gt=0)
    """Factor from cosines to logits."""


Loss = Annotated[CrossEntropy | Focal | BalancedSoftmax | Ldam | Huber | Mse, Field(discriminator="kind")]


class Drw(Config):
    """Deferred re-weighting: from some epoch on, classes are weighted by their effective number of images (Cao et al. 2019; Cui et
    al. 2019)."""

    start_epoch: int | None = Field(None, ge=1)
    """First re-weighted epoch, counted from 1 over all stages as if each used all its epochs; or give `start_fraction`."""
    start_fraction: float | None = Field(None, ge=0, lt=1)
    """Share of the run's largest number of epochs that passes before re-weighting."""
    beta: float = Field(0.9999, ge=0, lt=1)
    """Parameter of the effective number of n images, (1 − beta^n) / (1 − beta)."""

    @model_validator(mode="after")
    def _one_start(self) -> Drw:
        if (self.start_epoch is None) == (self.start_fraction is None):
            raise ValueError("needs either start_epoch or start_fraction, but not both")
        return self


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """Declaration of a loss: what the rest of the project must know of it."""

    config: type[Config]
    """Its settings, a member of `Loss`."""
    task: Task
    build: str
    """`module:function` that builds it: (settings, counts, device) -> `LossFunction` for classification, (settings) ->
    `RegressionLossFunction` for regression; see `trainables/tasks/losses.py`."""
    corrects_imbalance: bool = False
    """True where it corrects uneven classes by itself, so that `balance: auto` leaves them to it."""
    cosine_scale: str | None = None
    """The setting that holds the scale of its cosine head; None: its head is linear."""
    prior_power: str | None = None
    """The setting tau where training adds tau · log class prior to the logits; None: it adds nothing."""

    @property
    def kind(self) -> str:
        """`train.loss.kind`."""
        kind: str = get_args(self.config.model_fields["kind"].annotation)[0]
        return kind


LOSSES = (
    LossSpec(config=CrossEntropy, task="classification", build="trainables.tasks.losses:build_cross_entropy"),
    LossSpec(config=Focal, task="classification", build="trainables.tasks.losses:build_focal"),
    LossSpec(
        config=BalancedSoftmax,
        task="classification",
        build="trainables.tasks.losses:build_balanced_softmax",
        corrects_imbalance=True,
        prior_power="tau",
    ),
    LossSpec(
        config=Ldam,
        task="classification",
        build="trainables.tasks.losses:build_ldam",
        corrects_imbalance=True,
        cosine_scale="scale",
    ),
    LossSpec(config=Huber, task="regression", build="trainables.tasks.losses:build_huber"),
    LossSpec(config=Mse, task="regression", build="trainables.tasks.losses:build_mse"),
)
"""Every loss. A new one is a config class, its name in `Loss`, a line here, and a function that builds it."""

_BY_CONFIG = {spec.config: spec for spec in LOSSES}


def loss_spec(loss: Config) -> LossSpec:
    """Declaration of the loss that a recipe names."""
    return _BY_CONFIG[type(loss)]


def loss_kinds(task: Task) -> tuple[str, ...]:
    """Kinds of `train.loss` that a task can have."""
    return tuple(spec.kind for spec in LOSSES if spec.task == task)


def loss_numbers() -> tuple[str, ...]:
    """Names of all settings that some loss has."""
    return tuple(dict.fromkeys(name for spec in LOSSES for name in spec.config.model_fields if name != "kind"))
