"""`train` of a recipe: its stages (stage_config.py), the loss, and all else that says how the network is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from trainables.core.config_errors import Config
from trainables.core.vocabulary import Flag, Metric
from trainables.recipe.augment_config import Augment, Mix
from trainables.recipe.loss_config import CrossEntropy, Drw, Loss
from trainables.recipe.scheduled_changes import Change
from trainables.recipe.stage_config import OneCycle, Plateau, Stage
from trainables.storage.destination import Destination

# --- training --------------------------------------------------------------------------------------------------------


class Optimizer(Config):
    """Weight decay is each stage's own; biases and the scales of norms do not decay."""

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD; Adam's first beta."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """The learning rate of a block is that of the block after it times this (Clark et al. 2020); 1: all blocks learn alike."""


class Ema(Config):
    """Exponential moving average of the weights. Where there is one, both it and the current weights are validated."""

    decay: float = Field(0.999, gt=0, lt=1)
    """Share of the average that stays at each step; ramps up as (1 + n) / (10 + n) over the first steps of a stage."""
    judge: Literal["ema", "raw"] = "ema"
    """Whose metrics are the epoch's and whose weights are kept: the average's or the current ones'. Of the others the report has
    validation loss and metric, as `raw_…` or `ema_…`."""


_Milestone = Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=r"^([1-9][0-9]?|100)%$")]


class CheckpointPolicy(Config):
    """When checkpoints are written, and which stay on disk. None of it changes what a run comes to."""

    save_every_epochs: int = Field(1, ge=1)
    """Write each n-th epoch; also, in any case, the best so far, the milestones, those of `keep_every_epochs` and the last. What a
    kill can cost is so many epochs; Ctrl+C, SIGTERM and errors cost the epoch under way only. Runs in several processes
    (`workers`) write each epoch."""
    keep_last: int = Field(2, ge=1)
    """How many of the newest stay. A run goes on from the newest; the one before stands in where that is damaged."""
    keep_best: int = Field(1, ge=1)
    """How many of the best stay."""
    keep_every_epochs: int | None = Field(None, ge=1)
    """Also each n-th epoch, for good, and the best up to it."""
    milestones: tuple[_Milestone, ...] = ()
    """Also these, for good: numbers of epochs (`10`) or shares of the plan (`50%`). A stage that ended early counts as if it had
    used all its epochs; 100% is the last epoch, whenever that is."""
    compress: bool = False
    """Whether files are deflated: about a tenth smaller, and ten times slower to write."""
    backup: Destination | None = None
    """An absolute path or a URL (s3://bucket/folder) to which what a run needs to go on is copied after each save, below the run's
    name. A copy that fails is warned of, and made up for after the next save."""


class TrainConfig(Config):
    """How the network is trained."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    """In order; each starts from the best weights of the one before."""
    one_cycle: OneCycle | None = None
    """In place of the stages' schedules and warm-ups."""
    metric: Metric = Metric.ADJUSTED_BALANCED_ACCURACY
    """Chooses the best epoch, and is what a search optimises: losses and errors are minimised, all others maximised. Each task has
    metrics of its own, and both have `val_loss`; the default of regression is `spearman`."""
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
    """Each task has losses of its own; the default of regression is `huber`."""
    drw: Drw | None = None
    balance: Literal["none", "sampler", "class_weights", "auto"] = "none"
    """How rare classes get their say: drawn more often, weighing more, or whichever `auto` finds fit."""
    ema: Ema | None = None
    augment: Augment | None = None
    """How training images are varied; null: not at all. Validation images never are."""
    mix: Mix | None = None
    """How training images are mixed with each other; null: not at all."""
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
    prefix_cache: bool = True
    """Whether features of frozen blocks are kept and shared with other runs of the same data, weights and cut, where that saves
    time. On CPU the results are the same to the last bit."""
    prefix_dtype: Literal["fp32", "bf16"] = "fp32"
    """What features of frozen blocks are rounded to, cached or not. bf16 halves their size, and moves results. With mixed
    precision they are of its precision anyway."""
    compile: bool = False
    """Whether what trains is compiled by torch.compile, anew whenever a stage opens something. Meant for GPUs and long stages: on
    CPU compiling needs a C++ compiler, takes about a minute and gains nothing. Validation is not compiled."""
    cpu_threads: int = Field(1, ge=1)
    """Threads of one run on CPU. Part of the recipe because sums change in their last bit with it."""
    workers: int = Field(1, ge=1)
    """Processes that train the run together, each its part of every batch, on a GPU of its own where there are any. Part of the
    recipe because open blocks' BatchNorm sees a part at a time, and dropout draws for each; nothing else moves but last bits."""
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    changes: tuple[Change, ...] = ()
    """What changes while the run goes on, in the order of its epochs: `[{after_epoch: 8, set: {train.loss.max_margin: 0.4}}]`."""

    @field_validator("changes")
    @classmethod
    def _changes_in_order(cls, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        epochs = [change.after_epoch for change in changes]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"after_epoch {', '.join(map(str, epochs))}: give them in order, and each epoch once")
        return changes

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
    def mixes_images(self) -> bool:
        """Whether training images are mixed before they go through frozen blocks, whose features are new in each epoch then."""
        return self.mix is not None and self.mix.at == "input"

    @property
    def drw_start(self) -> int | None:
        """First re-weighted epoch by the plan (`stages.planned_epochs`), counted from 1; None without DRW."""
        if self.drw is None:
            return None
        if self.drw.start_epoch is not None:
            return self.drw.start_epoch
        # round: 0.29 · 100 is 28.999…96 in binary
        return int(round((self.drw.start_fraction or 0) * self.max_epochs, 6)) + 1
