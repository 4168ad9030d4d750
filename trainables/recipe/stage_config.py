"""Stages of `train`: open blocks, data, learning rates and end of each stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trainables.core.config_errors import Config
from trainables.core.vocabulary import Metric

# --- ends of stages --------------------------------------------------------------------------------------------------


class Plateau(Config):
    """Rule that ends a stage when a metric has stopped improving."""

    metric: Metric = Metric.VAL_LOSS
    """Metric that is watched: losses and errors improve by falling, all others by rising."""
    patience: int | None = Field(None, ge=1)
    """Epochs without improvement after which the stage ends; null: 5, or 8 if only the head trains."""
    threshold: float | None = Field(None, ge=0)
    """Smallest improvement that counts; null: 0.005, or 0.002 if only the head trains."""


class EarlyStop(Config):
    """Rule that ends the last stage when a metric has stopped improving."""

    metric: Metric = Metric.VAL_LOSS
    """Metric that is watched, see `Plateau`."""
    patience: int = Field(15, ge=1)
    """Epochs without improvement after which the run ends."""
    threshold: float = Field(0.001, ge=0)
    """Smallest improvement that counts."""


# --- learning rates --------------------------------------------------------------------------------------------------


class Constant(Config):
    """No change after the warm-up."""

    kind: Literal["constant"] = "constant"


class Cosine(Config):
    """Half a cosine down to the stage's last possible epoch (Loshchilov & Hutter 2017)."""

    kind: Literal["cosine"]
    min_lr: float = Field(1e-6, ge=0)
    """The learning rate does not fall below this."""


class Step(Config):
    """A drop every `every_epochs` epochs, by `factor`."""

    kind: Literal["step"]
    every_epochs: int = Field(5, ge=1)
    factor: float = Field(0.5, gt=0, lt=1)
    min_lr: float = Field(1e-6, ge=0)
    """The learning rate does not fall below this."""


class ReduceOnPlateau(Config):
    """A drop whenever the validation loss has stopped improving."""

    kind: Literal["reduce_on_plateau"]
    patience: int = Field(2, ge=0)
    """Epochs without improvement that are tolerated; the next one drops the learning rate."""
    threshold: float = Field(1e-4, ge=0)
    """Smallest drop of the validation loss that counts as improvement."""
    factor: float = Field(0.5, gt=0, lt=1)
    min_lr: float = Field(1e-6, ge=0)
    """The learning rate does not fall below this."""


def _kind_alone(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


_ScheduleByKind = Annotated[Constant | Cosine | Step | ReduceOnPlateau, Field(discriminator="kind")]
Schedule = Annotated[
    _ScheduleByKind,
    BeforeValidator(
        _kind_alone,
        json_schema_input_type=_ScheduleByKind | Literal["constant", "cosine", "step", "reduce_on_plateau"],
    ),
]


class CycledMomentum(Config):
    """Momentum that falls while the learning rate rises, and rises while it falls (Smith & Topin 2019)."""

    low: float = Field(0.85, ge=0, lt=1)
    """Momentum at the peak of the learning rate; Adam's first beta."""
    high: float = Field(0.95, ge=0, lt=1)
    """Momentum at the first and the last learning rate."""

    @model_validator(mode="after")
    def _low_is_below_high(self) -> CycledMomentum:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}; swap them, or remove momentum")
        return self


class OneCycle(Config):
    """One learning-rate curve over all stages, not restarted at their borders (Smith & Topin 2019).

    In each stage the curve is multiplied by the stage's learning rates. A stage that ends early counts as if it had used all its
    epochs, so that the curve always reaches its end. With `train.schedule_by: step` it is torch's OneCycleLR.
    """

    warmup_fraction: float = Field(0.3, ge=0, le=1)
    """Share of the run in which the learning rate rises."""
    start_divisor: float = Field(25.0, ge=1)
    """Ratio of the peak to the first learning rate."""
    end_divisor: float = Field(1e4, ge=1)
    """Ratio of the first to the last learning rate."""
    momentum: CycledMomentum | None = None
    """Momentum against the learning rate, in place of `optimizer.momentum`: `{low: 0.85, high: 0.95}`, or `{}` for these; null: it
    does not change."""


class RunCosine(Config):
    """Warm-up and half a cosine over all stages, not restarted at their borders.

    In each stage the curve is multiplied by the stage's learning rates. A stage that ends early counts as if it had used all its
    epochs. Blocks that open later join the curve where it is.
    """

    head_warmup_epochs: int = Field(0, ge=0)
    """First epochs of the run over which the head's learning rate rises linearly."""
    backbone_warmup_epochs: int = Field(0, ge=0)
    """First epochs of the run over which the blocks' learning rate rises linearly."""
    min_lr: float = Field(1e-6, ge=0)
    """The learning rate does not fall below this."""


# --- stages ----------------------------------------------------------------------------------------------------------


class Stage(Config):
    """A part of the training in which the same blocks are open."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")
    """Name of the stage in logs and checkpoint names."""
    unfreeze_from: str
    """First block that trains; all later ones train, too. The name of a block or of a part of one (`layer4.2`), `head`, `last:N` or
    `all`."""
    freeze: tuple[str, ...] = ()
    """Blocks that stay frozen although they come after `unfreeze_from`: `[layer1, layer2]` leaves the stem open."""
    epochs: int = Field(10, ge=1, le=10_000)
    """Largest number of epochs of the stage."""
    plateau: Plateau | None = Plateau()
    """Rule that ends the stage early; null: it runs all its epochs. Not in the last stage, which `early_stop` ends."""
    data_fraction: float = Field(1.0, gt=0, le=1)
    """Share of each class's training images that the stage sees. A larger share includes the images of a smaller one."""
    image_size: int | None = Field(None, ge=8)
    """Side of the images the network sees in this stage, in training and in validation, in pixels; null: `data.image_size`."""
    batch_size: int | None = Field(None, ge=1)
    """Images in a batch, before accumulation; null: `train.batch_size`."""
    head_lr: float = Field(1e-3, gt=0)
    """Peak learning rate of the head."""
    backbone_lr: float | None = Field(None, gt=0)
    """Peak learning rate of the open blocks; or give `backbone_lr_ratio`."""
    backbone_lr_ratio: float | None = Field(None, gt=0)
    """Peak learning rate of the open blocks as a multiple of `head_lr`; 0.1 if neither is given."""
    lr_scale: float = Field(1.0, gt=0)
    """Factor of both peak learning rates; with 1, 0.8 and 0.5, for example, later stages learn more slowly."""
    schedule: Schedule = Constant()
    """Course of the learning rates after the warm-up. A kind without settings may be given as `schedule: cosine`."""
    head_warmup_epochs: int = Field(0, ge=0)
    """Epochs over which the head's learning rate rises linearly."""
    backbone_warmup_epochs: int = Field(3, ge=0)
    """Epochs over which the open blocks' learning rate rises linearly: 3 means 1/3, 2/3, 1; at most the stage's
    own."""
    head_frozen_epochs: int | None = Field(None, ge=0)
    """Number of first epochs of the stage in which the head is frozen; null: 3, or one less than the stage has, where
    `train.freeze_head_at` says so, else 0."""
    continues: bool = False
    """Continue the stage before without a break: with its last weights instead of its best, the optimizer's moments of all
    parameters that stay, its average of the weights, and the head open."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout before the last layer."""
    weight_decay: float = Field(1e-4, ge=0)
    """Weight decay; biases and the scales of norms have none."""

    @model_validator(mode="after")
    def _one_backbone_learning_rate(self) -> Stage:
        if self.backbone_lr is not None and self.backbone_lr_ratio is not None:
            raise ValueError("backbone_lr and backbone_lr_ratio set the same learning rate; keep one of the two")
        return self

    @property
    def peak_head_lr(self) -> float:
        """Learning rate of the head after warm-up."""
        return self.head_lr * self.lr_scale

    @property
    def peak_backbone_lr(self) -> float:
        """Learning rate of the open blocks after warm-up."""
        if self.backbone_lr is not None:
            return self.backbone_lr * self.lr_scale
        return self.peak_head_lr * (0.1 if self.backbone_lr_ratio is None else self.backbone_lr_ratio)
