"""`train` of a recipe: the loss, the optimizer, checkpoints and all other settings of training; stages are in stage_config.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from trainables.core.config_errors import Config
from trainables.core.vocabulary import Flag, Metric
from trainables.recipe.augment_config import Augment, Mix
from trainables.recipe.data_settings.label_names import label_name
from trainables.recipe.loss_config import CrossEntropy, Drw, Loss
from trainables.recipe.rules.stage_plans import Plan
from trainables.recipe.scheduled_changes import Change
from trainables.recipe.stage_config import EarlyStop, OneCycle, RunCosine, Stage
from trainables.storage.destination import Destination


def _by_class_name(given: object) -> object:
    """Weights by the names of classes, as `data.labels` and files give them."""
    if given is None or isinstance(given, list | tuple):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{given!r}: give a weight for each class, as in {{rare: 5, common: 1}}, or a list in their order"
        )
    named = [label_name(name) for name in given]
    if len(set(named)) < len(named):
        raise ValueError(f"{', '.join(sorted({name for name in named if named.count(name) > 1}))}: given twice")
    return dict(zip(named, given.values(), strict=True))


_Weight = Annotated[float, Field(gt=0)]
ClassWeights = Annotated[
    Annotated[dict[str, _Weight], Tag("names")] | Annotated[tuple[_Weight, ...], Field(min_length=2), Tag("list")],
    Discriminator(lambda given: "names" if isinstance(given, Mapping) else "list"),
    BeforeValidator(_by_class_name),
]
"""`train.class_weights`."""

# --- training --------------------------------------------------------------------------------------------------------


class Optimizer(Config):
    """Optimizer. Weight decay is a setting of each stage; biases and the scales of norms have none."""

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD; Adam's first beta."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Factor from the learning rate of a block to that of the block before it (Clark et al. 2020); 1: the same for all blocks."""


class Ema(Config):
    """Exponential moving average of the weights. If it is on, both the average and the current weights are validated."""

    decay: float = Field(0.999, gt=0, lt=1)
    """Share of the average that remains at each step."""
    warmup: bool = True
    """Ramp the decay up as (1 + n) / (10 + n) over the first steps of a stage, so that 0.999 is reached after 9,000; false: the
    full decay from the first step."""
    judge: Literal["ema", "raw"] = "ema"
    """Weights that are scored, and of which the best are used: `ema`, the average, or `raw`, the current weights. For the others
    the report has only the validation loss and the metric, as `raw_…` or `ema_…`."""


_Milestone = Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=r"^([1-9][0-9]?|100)%$")]


class CheckpointPolicy(Config):
    """Rules for when checkpoints are written and which stay on disk. They do not affect the result of a run."""

    save_every_epochs: int = Field(1, ge=1)
    """Write a checkpoint every n epochs. The best epoch so far, milestones, those of `keep_every_epochs` and the last epoch are
    always written. A kill costs at most n epochs; Ctrl+C, SIGTERM and errors cost only the current epoch. Runs in several processes
    (`workers`) write every epoch."""
    keep_last: int | None = Field(None, ge=1)
    """Number of newest checkpoints that stay; null: 5, or 2 in a search and where the disk is short. A run resumes from the newest,
    or from the one before it if that is damaged."""
    keep_best: int = Field(1, ge=1)
    """Number of best checkpoints that stay."""
    keep_every_epochs: int | None = Field(None, ge=1)
    """Additionally retain every n-th epoch, and the best epoch up to it, permanently."""
    milestones: tuple[_Milestone, ...] | None = None
    """Epochs to retain permanently in addition, as numbers (`10`) or shares of the plan (`50%`). A stage that ended early counts as
    if it had used all its epochs; 100% is the last epoch, even if it comes early. null: 25%, 50%, 75% and 100%, or none where the
    disk is short."""
    compress: bool = False
    """Deflate checkpoint files: about a tenth smaller, and ten times slower to write."""
    backup: Destination | None = None
    """Absolute path or URL (s3://bucket/folder) to which everything a run needs to resume is copied after each save, below the
    run's name. If a copy fails, a warning is logged, and the next save tries again."""


def _stages_or_plan(schema: dict[str, Any]) -> None:
    schema["required"] = [key for key in schema["required"] if key != "stages"]
    schema["anyOf"] = [{"required": ["stages"]}, {"required": ["plan"], "properties": {"plan": {"type": "string"}}}]


class TrainConfig(Config):
    """Settings of training."""

    model_config = ConfigDict(json_schema_extra=_stages_or_plan)

    stages: tuple[Stage, ...] = Field(min_length=1)
    """Stages in order; each starts from the best weights of the one before."""
    plan: Plan | None = None
    """Stages by one word, in place of `stages`; the resolved recipe has the stages that it stands for."""
    one_cycle: OneCycle | None = None
    """One learning-rate curve over the whole run, in place of the stages' schedules and warm-ups."""
    cosine: RunCosine | None = None
    """One warm-up and cosine over the whole run, in place of the stages' schedules and warm-ups."""
    schedule_by: Literal["epoch", "step"] = "epoch"
    """Unit in which learning rates follow warm-ups, schedules and curves: they change once an epoch, or at each optimizer step as
    with torch's schedulers. `step` and `reduce_on_plateau` drop after whole epochs either way."""
    metric: Metric = Metric.ADJUSTED_BALANCED_ACCURACY
    """Metric that chooses the best epoch and that a search optimises: losses and errors are minimised, all others maximised. Each
    task has its own metrics, and both have `val_loss`; the default of regression is `spearman`."""
    batch_size: int = Field(32, ge=1)
    """Images in a batch, before accumulation."""
    accumulate: int = Field(1, ge=1)
    """Number of batches whose gradients are averaged into one step."""
    clip_norm: float | None = Field(None, gt=0)
    """Largest norm of the gradient; larger gradients are scaled down to it."""
    optimizer: Optimizer = Optimizer()
    freeze_head_at: Literal["first_opening", "every_opening"] = "first_opening"
    """Stages that begin with a frozen head, unless they give `head_frozen_epochs`: the one that first opens blocks under a trained
    head, or every later one that opens blocks which have not trained before."""
    bn_affine: Literal["auto", "frozen", "train"] = "auto"
    """Training of BatchNorm's scale and shift in open blocks; its running statistics are always updated there. `auto`: they train
    if the network starts from random weights."""
    loss: Loss = CrossEntropy()
    """Training loss. Each task has its own losses; the default of regression is `huber`."""
    drw: Drw | None = None
    """Deferred re-weighting of the classes; null: off."""
    balance: Literal["none", "sampler", "class_weights", "auto"] = "none"
    """Correction of class imbalance: rare classes are drawn more often (`sampler`), weighted more (`class_weights`), or as `auto`
    chooses."""
    class_weights: ClassWeights | None = None
    """Weights of the classes in the loss, above 0: by name, as in `{rare: 5, common: 1}`, where classes that are not named have
    weight 1; or a list in the order of the classes. Only their ratios matter. null: all equal, or as `balance` says."""
    ema: Ema | None = None
    """Average of the weights over the steps; null: off."""
    augment: Augment | None = None
    """Random variations of the training images; null: none. Validation images are never varied."""
    mix: Mix | None = None
    """Mixing of training images with each other; null: off."""
    early_stop: EarlyStop | None = EarlyStop()
    """Rule that ends the last stage, not counting epochs before `drw` starts; null: it runs all its epochs."""
    stop_on: tuple[Flag, ...] = (Flag.NAN,)
    """Flags that end the run at once: `nan`, `spike`, `collapse`, `drw_drop`, `stuck_auc`, `gap`. All except `nan` only do so once
    the run has settled after the start of a stage or of re-weighting (`stages.has_settled`)."""
    seed: int = Field(0, ge=0)
    """Seed of the initial head, batch order, dropout and augmentation."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to train on; `auto`: an NVIDIA GPU if there is one, else the CPU. Apple GPUs (`mps`) are used only by name."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of convolutions and matrix products, by autocast. fp16 scales gradients and needs a GPU; on CPU bf16 is slower than
    fp32."""
    prefix_cache: bool = True
    """Cache features of frozen blocks and share them with other runs of the same data, weights and cut, if that saves time. On CPU
    the results are the same to the last bit."""
    prefix_dtype: Literal["fp32", "bf16"] = "fp32"
    """Type that features of frozen blocks are rounded to, cached or not. bf16 halves their size, and changes results slightly. With
    mixed precision they have its type anyway."""
    gradient_checkpointing: bool = False
    """Keep only the outputs of open blocks for the backward pass and compute what is inside them again: less memory, longer steps,
    the same results."""
    compile: bool = False
    """Compile the open part of the network with torch.compile, again whenever a stage opens blocks. Meant for GPUs and long stages:
    on CPU it needs a C++ compiler, takes about a minute and saves no time. Validation is not compiled."""
    cpu_threads: int = Field(1, ge=1)
    """Threads of one run on CPU. Part of the recipe because the last bits of sums depend on it."""
    workers: int = Field(1, ge=1)
    """Processes that train the run together, each on its part of every batch, and on its own GPU if there are any. Part of the
    recipe because BatchNorm of open blocks and dropout work on each part separately; otherwise only last bits differ."""
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    """Checkpoints to write and to retain."""
    changes: tuple[Change, ...] = ()
    """Changes of values during the run, ordered by epoch: `[{after_epoch: 8, set: {train.loss.max_margin: 0.4}}]`."""

    @field_validator("changes")
    @classmethod
    def _changes_in_order(cls, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        epochs = [change.after_epoch for change in changes]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"after_epoch {', '.join(map(str, epochs))}: must be ascending, each epoch only once")
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
        if self.one_cycle and self.cosine:
            raise ValueError("one_cycle and cosine are both curves over the whole run; keep one of the two")
        if self.curve_of_run and scheduled:
            names = ", ".join(scheduled)
            raise ValueError(f"{self.curve_of_run} replaces schedules, but {names} has one; keep one of the two")
        return self

    @model_validator(mode="after")
    def _one_way_of_balancing(self) -> TrainConfig:
        given = {
            "drw": self.drw is not None,
            "class_weights": self.class_weights is not None,
            f"balance {self.balance!r}": self.balance in {"sampler", "class_weights"},
        }
        both = [name for name, is_given in given.items() if is_given]
        if len(both) > 1:
            mend = (
                "set balance: none or drop drw" if both == [*given][::2] else f"drop all but one of {', '.join(both)}"
            )
            raise ValueError(f"{' and '.join(both)} would correct the imbalance twice; {mend}")
        return self

    @property
    def curve_of_run(self) -> Literal["one_cycle", "cosine"] | None:
        """Name of the learning-rate curve over the whole run; None if each stage has its own."""
        return "one_cycle" if self.one_cycle else "cosine" if self.cosine else None

    @property
    def max_epochs(self) -> int:
        """Largest possible number of epochs of the run."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def mixes_images(self) -> bool:
        """True if training images are mixed before the frozen blocks, whose features then differ in each epoch."""
        return self.mix is not None and self.mix.at == "input"

    @property
    def drw_start(self) -> int | None:
        """First re-weighted epoch by the plan (`stages.planned_epochs`), counted from 1; None without DRW."""
        if self.drw is None:
            return None
        if self.drw.start_epoch is not None:
            return self.drw.start_epoch
        # round, because 0.29 · 100 is 28.999…96 in binary
        return int(round((self.drw.start_fraction or 0) * self.max_epochs, 6)) + 1
