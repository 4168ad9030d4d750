"""`train.loss` and `train.drw` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainables.core.config_errors import Config


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
