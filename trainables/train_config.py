"""`train` of a recipe: stages, learning rates, loss, and all else that says how the network is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trainables.data_config import Augment
from trainables.layout import Flag, Metric
from trainables.problems import Config

# --- plateaus --------------------------------------------------------------------------------------------------------


class Plateau(Config):
    """When validation has stopped improving."""

    patience: int = Field(5, ge=1)
    """Epochs without improvement after which the stage ends."""
    threshold: float = Field(0.005, ge=0)
    """Smallest drop of the validation loss that counts as improvement."""


# --- learning rates --------------------------------------------------------------------------------------------------


class Constant(Config):
    kind: Literal["constant"] = "constant"


class Cosine(Config):
    """Half a cosine until the stage's last possible epoch (Loshchilov & Hutter 2017)."""

    kind: Literal["cosine"]
    min_lr: float = Field(1e-6, ge=0)
    """The learning rate does not fall below this."""


class Step(Config):
    """A drop every so many epochs."""

    kind: Literal["step"]
    every_epochs: int = Field(5, ge=1)
    factor: float = Field(0.5, gt=0, lt=1)
    min_lr: float = Field(1e-6, ge=0)
    """The learning rate does not fall below this."""


class ReduceOnPlateau(Config):
    """A drop whenever the validation loss has stopped improving."""

    kind: Literal["reduce_on_plateau"]
    patience: int = Field(2, ge=0)
    """Epochs without improvement that are let pass; the next one drops the learning rate."""
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


class OneCycle(Config):
    """One learning-rate curve over all stages, not restarted at their borders (Smith & Topin 2019).

    A stage's learning rates are what the curve is multiplied with in it. A stage that ends early counts as if it had used all
    its epochs, so that the curve always comes to its end.
    """

    warmup_fraction: float = Field(0.3, ge=0, le=1)
    """Share of the run in which the learning rate rises."""
    start_divisor: float = Field(25.0, ge=1)
    """Peak over first learning rate."""
    end_divisor: float = Field(1e4, ge=1)
    """First over last learning rate."""


# --- stages ----------------------------------------------------------------------------------------------------------


class Stage(Config):
    """A stretch of training in which the same blocks train."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")
    """Appears in logs and checkpoint names."""
    unfreeze_from: str
    """First block that trains; all later ones do too. A block's name, `head`, `last:N` or `all`."""
    epochs: int = Field(10, ge=1)
    """The stage ends after this many epochs at the latest."""
    plateau: Plateau | None = Plateau()
    """Ends the stage before that; null: it runs all its epochs. The last stage ends by `early_stop` instead."""
    head_lr: float = Field(1e-3, gt=0)
    """Peak learning rate of the head."""
    backbone_lr: float | None = Field(None, gt=0)
    """Peak learning rate of the open blocks; or give `backbone_lr_ratio`."""
    backbone_lr_ratio: float | None = Field(None, gt=0)
    """Peak learning rate of the open blocks as a multiple of `head_lr`; 0.1 if neither is given."""
    schedule: Schedule = Constant()
    """What the learning rates do after their warm-up. A kind alone will do: `schedule: cosine`."""
    head_warmup_epochs: int = Field(0, ge=0)
    """Epochs over which the head's learning rate rises linearly."""
    backbone_warmup_epochs: int = Field(3, ge=0)
    """Epochs over which the open blocks' learning rate rises linearly: 3 means 1/3, 2/3, 1."""
    head_frozen_epochs: int | None = Field(None, ge=0)
    """First epochs of the stage in which the head rests; null: 3 in the stage that first opens blocks under a trained head,
    else 0."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout before the last layer."""
    weight_decay: float = Field(1e-4, ge=0)

    @model_validator(mode="after")
    def _one_backbone_learning_rate(self) -> Stage:
        if self.backbone_lr is not None and self.backbone_lr_ratio is not None:
            raise ValueError("backbone_lr and backbone_lr_ratio say the same thing twice; keep one")
        return self

    @property
    def peak_backbone_lr(self) -> float:
        """Learning rate of the open blocks after warm-up."""
        if self.backbone_lr is not None:
            return self.backbone_lr
        return self.head_lr * (0.1 if self.backbone_lr_ratio is None else self.backbone_lr_ratio)


# --- loss ------------------------------------------------------------------------------------------------------------


class CrossEntropy(Config):
    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(0.0, ge=0, lt=1)


class Focal(Config):
    """Cross-entropy that looks away from what is easy (Lin et al. 2017)."""

    kind: Literal["focal"]
    gamma: float = Field(2.0, ge=0)
    """0 is cross-entropy; larger values look away more."""


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


Loss = Annotated[CrossEntropy | Focal | BalancedSoftmax | Ldam, Field(discriminator="kind")]


class Drw(Config):
    """Deferred re-weighting: classes weigh by their effective number from some epoch on (Cao et al. 2019; Cui et al. 2019)."""

    start_epoch: int | None = Field(None, ge=1)
    """First re-weighted epoch, counted from 1 over all stages as if each used all its epochs; or `start_fraction`."""
    start_fraction: float | None = Field(None, ge=0, lt=1)
    """Share of the run's largest number of epochs that goes by before re-weighting."""
    beta: float = Field(0.9999, ge=0, lt=1)
    """Effective number of n images: (1 − beta^n) / (1 − beta)."""

    @model_validator(mode="after")
    def _one_start(self) -> Drw:
        if (self.start_epoch is None) == (self.start_fraction is None):
            raise ValueError("needs either start_epoch or start_fraction, and not both")
        return self


# --- training --------------------------------------------------------------------------------------------------------


class Optimizer(Config):
    """Weight decay is each stage's own; biases and the scales of norms do not decay."""

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD; Adam's first beta."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """The learning rate of a block is that of the block after it times this (Clark et al. 2020); 1: all blocks learn alike."""


class Ema(Config):
    """Exponential moving average of the weights; where given, it is what is judged and kept."""

    decay: float = Field(0.999, gt=0, lt=1)
    """Share of the average that stays at each step; ramps up as (1 + n) / (10 + n) over the first steps of a stage."""


class CheckpointPolicy(Config):
    """Which checkpoints stay on disk. The newest one always does: a run continues from it."""

    keep_best: int = Field(1, ge=1)
    """How many of the best epochs."""
    every_epochs: int | None = Field(None, ge=1)
    """Also each n-th epoch, for good."""


class TrainConfig(Config):
    """How the network is trained."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    """In order; each starts from the best weights of the one before."""
    one_cycle: OneCycle | None = None
    """In place of the stages' schedules and warm-ups."""
    metric: Metric = Metric.ADJUSTED_BALANCED_ACCURACY
    """Chooses the best epoch, and is what a search optimises. `val_loss` is minimised, all others are maximised."""
    batch_size: int = Field(32, ge=1)
    """Images a step, before accumulation."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are averaged into one step."""
    clip_norm: float | None = Field(None, gt=0)
    """Largest norm of the gradient; longer ones are shortened to it."""
    optimizer: Optimizer = Optimizer()
    bn_affine: Literal["frozen", "train"] = "frozen"
    """Whether scale and shift of BatchNorm train in open blocks; its running statistics always do."""
    loss: Loss = CrossEntropy()
    drw: Drw | None = None
    balance: Literal["none", "sampler", "class_weights", "auto"] = "none"
    """How rare classes get their say: drawn more often, weighing more, or whichever `auto` finds fit."""
    ema: Ema | None = None
    augment: Augment | None = None
    """How training images are varied; null: not at all. Validation images never are."""
    early_stop: Plateau | None = Plateau(patience=15, threshold=0.001)
    """Ends the last stage, not counting epochs before `drw` starts; null: it runs all its epochs."""
    stop_on: tuple[Flag, ...] = (Flag.NAN,)
    """Flags that end the run at once: `nan`, `spike`, `collapse`, `drw_drop`, `stuck_auc`, `gap`. All but `nan` wait until a
    stage, and re-weighting, has settled (`stages.has_settled`)."""
    seed: int = Field(0, ge=0)
    """Seed of initial head, batch order, dropout and augmentation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: the GPU where there is one."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of convolutions and matrix products, by autocast. fp16 scales gradients and needs a GPU; on CPU bf16 is slower than fp32."""
    compile: bool = False
    """Whether what trains is compiled by torch.compile, anew whenever a stage opens something. Meant for GPUs and long stages: on
    CPU compiling needs a C++ compiler, takes about a minute and gains nothing. Validation is not compiled."""
    cpu_threads: int = Field(1, ge=1)
    """Threads of one run on CPU. Part of the recipe because sums change in their last bit with it."""
    checkpoints: CheckpointPolicy = CheckpointPolicy()

    @model_validator(mode="after")
    def _stage_names_differ(self) -> TrainConfig:
        names = [stage.name for stage in self.stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two stages have the same name: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _one_learning_rate_curve(self) -> TrainConfig:
        scheduled = [stage.name for stage in self.stages if stage.schedule.kind != "constant"]
        if self.one_cycle and scheduled:
            raise ValueError(f"one_cycle takes the place of schedules, and {', '.join(scheduled)} has one; keep either")
        return self

    @model_validator(mode="after")
    def _one_way_of_balancing(self) -> TrainConfig:
        if self.drw and self.balance in {"sampler", "class_weights"}:
            raise ValueError(
                f"drw and balance {self.balance!r} would correct the imbalance twice; set balance: none or drop drw"
            )
        return self

    @property
    def max_epochs(self) -> int:
        """Epochs of the longest possible run."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def drw_start(self) -> int | None:
        """First re-weighted epoch by the plan (`stages.planned_epochs`), counted from 1; None without DRW."""
        if self.drw is None:
            return None
        if self.drw.start_epoch is not None:
            return self.drw.start_epoch
        # round: 0.29 · 100 is 28.999…96 in binary
        return int(round((self.drw.start_fraction or 0) * self.max_epochs, 6)) + 1
