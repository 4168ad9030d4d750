"""`Trainer`: staged unfreezing as an iterator of epoch reports. It uses neither files nor Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from trainables.data.batches.batches import derived_seed, generator
from trainables.data.dataset import Dataset
from trainables.frozen_prefix.feature_cache import Progress
from trainables.models.build_model import BuiltModel, build_model, normalised_as
from trainables.models.precision import device_of, place
from trainables.models.small_map_convolutions import train_fast_on_small_maps
from trainables.recipe.recipe import Recipe
from trainables.run_folder.epoch_report import EpochReport
from trainables.tasks.classification import task_of
from trainables.tasks.metrics import Evaluation
from trainables.training.active_stage import ActiveStage
from trainables.training.batch_feed import Batch, Feed
from trainables.training.epoch_training import TrainedEpoch, shown, train_epoch
from trainables.training.freezing import opened_parts
from trainables.training.history.compute_cost import planned_compute, trained_parameters
from trainables.training.history.report_epoch import MeasuredEpoch, report_epoch
from trainables.training.history.run_history import RunHistory, check_origin
from trainables.training.memory_advice import TrainingMemoryError, advice, ran_out
from trainables.training.replicas import ALONE, Replicas
from trainables.training.stage_plan import EpochPlan, Position, plan_epoch, stage_is_over
from trainables.training.validation import outputs_of, with_others

State = dict[str, Any]
ShowSteps = Callable[[int, int, int], None]
"""Number of an epoch, steps done, steps in all."""


class Trainer:
    """One training run.

    Iterating trains epoch by epoch until the run is over. A new trainer of the same recipe and data that loads the `state_dict` of
    an epoch continues like an uninterrupted one, bit for bit on CPU.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        *,
        replicas: Replicas = ALONE,
        sharing_runs: int = 1,
        progress: Progress | None = None,
        show_steps: ShowSteps | None = None,
    ):
        """Builds the model of a recipe and prepares its first stage.

        Args:
            recipe: recipe of the run.
            dataset: data set of the run.
            replicas: processes that train the run together; each iterates over a trainer of its own.
            sharing_runs: runs that are expected to need the same features of frozen blocks, this one included.
            progress: callback for the progress of computing features to cache, in images.
            show_steps: callback for the progress of training an epoch.
        Raises:
            ConfigError: if the recipe needs a GPU and there is none, or the pretrained weights cannot be loaded.
        """
        torch.set_num_threads(recipe.train.cpu_threads)
        assert replicas.count == recipe.train.workers
        self._given, self.recipe = recipe, recipe.in_epoch(1)
        """Recipe as given, and as it is now, with the changes that are due (`train.changes`)."""
        self.dataset = dataset
        self.replicas, self._show_steps = replicas, show_steps
        self.device = device_of(recipe)
        self.task = task_of(recipe, dataset, device=self.device)
        built = normalised_as(self._built(), recipe.data)
        if self.device.type == "cpu":
            train_fast_on_small_maps(built.model)
        self.model = place(built.model, self.device)
        self.pretrained_fingerprint = built.fingerprint
        self._feed_of = partial(
            Feed,
            recipe,
            built=built,
            balanced=self.task.balanced,
            device=self.device,
            replicas=replicas,
            sharing_runs=sharing_runs,
            progress=progress,
        )
        self.feed = self._feed_of(dataset)
        counts = np.ones(len(dataset.classes)) if self.task.balanced else dataset.train_counts
        self._class_shares: list[float] = (counts / counts.sum()).tolist()
        self.history = RunHistory.at_start(recipe)
        self.steps = 0
        """Number of optimizer steps so far."""
        self._planned_compute = planned_compute(recipe, self.model, self._images)
        self._deepest_cut = recipe.cut(0)
        self._active = self._stage()

    def _built(self) -> BuiltModel:
        """The network before its training."""
        return build_model(
            self._given.model,
            classes=self.task.outputs,
            cosine_scale=self.task.cosine_scale,
            generator=generator(self._given.train.seed, "head", 0),
            blocks=self._given.blocks,
        )

    @property
    def position(self) -> Position:
        """Position of the run in its stages."""
        return self.history.position

    @property
    def finished(self) -> bool:
        """True if the run is over."""
        return self.history.is_over(self.recipe)

    def __iter__(self) -> Iterator[EpochReport]:
        return self

    def __next__(self) -> EpochReport:
        if self.finished:
            raise StopIteration
        try:
            return self._epoch()
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            place = {"stage": self.position.stage, "epoch": self.position.epoch_in_stage + 1}
            raise TrainingMemoryError(advice(self.recipe, **place, device=self.device.type)) from error

    def _epoch(self) -> EpochReport:
        """Trains and validates an epoch."""
        if any(change.after_epoch == self.position.epoch for change in self._given.train.changes):
            self._adopt(self._given.in_epoch(self.position.epoch + 1))
            self._active.change(self.recipe, cosine_scale=self.task.cosine_scale)
        if stage_is_over(self.recipe, self.position):
            self._enter_next_stage()
        plan = plan_epoch(self.recipe, self.position, steps_in_epoch=self.feed.steps_in_epoch)
        self._active.begin_epoch(plan)
        opened = None if self.position.epoch_in_stage else opened_parts(self.model, self.recipe.blocks)
        cached_s, started = self.feed.cache_s, time.perf_counter()
        trained = self._train_epoch(reweighted=plan.reweighted)
        trained_at = time.perf_counter()
        # Agreed, because different processors may differ in the last bits, which may decide whether a plateau is reached.
        evaluation = self._validate(self.feed, reweighted=plan.reweighted, replicas=self.replicas)
        trained, evaluation = self.replicas.from_first((trained, evaluation))
        validated_at = time.perf_counter()
        measured = MeasuredEpoch(
            trained=trained,
            evaluation=evaluation,
            images=self._images(self.position.stage),
            train_s=trained_at - started,
            val_s=validated_at - trained_at,
            cache_s=self.feed.cache_s - cached_s,
            uncached=self.feed.uncached,
            opened=opened,
        )
        return self._report(plan, measured)

    def _adopt(self, recipe: Recipe) -> None:
        """Continues with the recipe after a change."""
        self.recipe = recipe
        self.task = task_of(recipe, self.dataset, device=self.device)
        self.model.head.set_scale(self.task.cosine_scale)

    def _enter_next_stage(self) -> None:
        self.history.position = self.position.next_stage()
        stage = self.position.stage
        self._active = self._stage(self._active, opens_blocks=self.recipe.opens_new_blocks(stage))
        self._deepest_cut = min(self.recipe.cut(stage), self._deepest_cut)

    def _stage(self, before: ActiveStage | None = None, *, opens_blocks: bool = True) -> ActiveStage:
        build = partial(ActiveStage, self.model, self.recipe, self.position.stage, before, opens_blocks=opens_blocks)
        return build(device=self.device, replicas=self.replicas)

    def _images(self, stage: int) -> int:
        """Training images that a stage sees in an epoch."""
        return len(self.feed.images.of_stage(stage).train)

    # --- an epoch ---------------------------------------------------------------------------------------------------

    def _train_epoch(self, *, reweighted: bool) -> TrainedEpoch:
        """Trains on every training image of the stage once (or as often as balanced sampling draws it)."""
        epoch = self.position.epoch + 1
        # Each process draws dropout for its own part of the batch.
        purpose = f"dropout {rank}" if (rank := self.replicas.rank) else "dropout"
        torch.manual_seed(derived_seed(self.recipe.train.seed, purpose, epoch))
        steps: Iterable[list[Batch]] = self.feed.steps(epoch, stage=self.position.stage)
        if self._show_steps:
            total = self.feed.steps_in_epoch(self.position.stage)
            steps = shown(steps, partial(self._show_steps, epoch), total)
        trained = train_epoch(
            steps,
            self._active,
            self.task,
            self.recipe.train,
            device=self.device,
            replicas=self.replicas,
            reweighted=reweighted,
            accuracy=self.dataset.targets is None and self.recipe.train.mix is None,
        )
        self.steps += trained.steps
        return trained

    def evaluate(self, dataset: Dataset, *, reweighted: bool) -> Evaluation:
        """Evaluates the current weights on the validation images of another data set, in this process alone.

        Args:
            dataset: data set to evaluate on.
            reweighted: whether the weights were trained with DRW's class weights, on which the corrected metrics depend.
        """
        return self._validate(self._feed_of(dataset, replicas=ALONE), reweighted=reweighted, replicas=ALONE)

    def predict(self) -> np.ndarray:
        """Predictions of the scored weights for the validation images, in this process alone: probabilities [m, c], or numbers
        [m]."""
        self.model.eval()
        feed = self.feed if self.replicas is ALONE else self._feed_of(self.dataset, replicas=ALONE)
        tails, images = [self._active.scored_tail.eval()], feed.validation(stage=self.position.stage)
        (outputs,), _ = outputs_of(tails, images, self.recipe.train, device=self.device, replicas=ALONE)
        return self.task.predictions(outputs)

    def _validate(self, feed: Feed, *, reweighted: bool, replicas: Replicas) -> Evaluation:
        """Validates the scored weights, and the others of a run with a weight average; see `validation.with_others`."""
        self.model.eval()
        tails = {name: tail.eval() for name, tail in self._active.validated.items()}
        images = feed.validation(stage=self.position.stage)
        outputs, truth = outputs_of(
            list(tails.values()), images, self.recipe.train, device=self.device, replicas=replicas
        )
        scored, *others = (self.task.validate(of_tail, truth, reweighted=reweighted) for of_tail in outputs)
        return with_others(scored, dict(zip(list(tails)[1:], others, strict=True)), self.recipe.train.metric)

    def _report(self, plan: EpochPlan, measured: MeasuredEpoch) -> EpochReport:
        """Takes a trained and validated epoch into the run's history and reports it."""
        score = self.history.add_epoch(
            self.recipe,
            plan,
            measured.trained,
            measured.evaluation,
            compute=trained_parameters(self.model) * measured.images,
            class_shares=self._class_shares,
        )
        self._active.store_if_best(score)
        return report_epoch(self.recipe, self.history, plan, measured, planned_compute=self._planned_compute)

    # --- state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> State:
        """Everything the rest of the run depends on, as tensors and plain values; only the weights that training has changed.

        Random number generators need no state, because each epoch derives its own from the seed.
        """
        history = self.history.state_dict()
        return {
            "pretrained": self.pretrained_fingerprint,
            "data": self.dataset.fingerprint,
            "position": history.pop("position"),
            "steps": self.steps,
            **history,
            "deepest_cut": self._deepest_cut,
            "weights": self.changed_weights(),
            "stage": self._active.state_dict(),
        }

    def changed_weights(self) -> dict[str, torch.Tensor]:
        """Weights of the head and of all blocks that have been open so far, by their names in the model."""
        return self.model.weights_from(self._deepest_cut)

    def load_state_dict(self, state: State) -> None:
        """Continues from a state that `state_dict` returned.

        Raises:
            OtherOriginError: if the state belongs to other pretrained weights or other data.
            Exception: of nearly any kind, if the state belongs to another recipe; the trainer cannot be used any more then.
        """
        check_origin(state, pretrained=self.pretrained_fingerprint, data=self.dataset.fingerprint)
        self.history = RunHistory.of_state(state)
        if self._given.train.changes:
            self._adopt(self._given.in_epoch(self.position.epoch))
        self.steps = int(state["steps"])
        if self._deepest_cut < state["deepest_cut"]:  # blocks that the state lacks have trained here since
            self.model.load_state_dict(self._built().model.state_dict())
        self._deepest_cut = state["deepest_cut"]
        if state["weights"].keys() != self.changed_weights().keys():
            raise ValueError("its weights belong to another network")
        self.model.load_state_dict(state["weights"], strict=False)
        self._active = self._stage()
        self._active.load_state_dict(state["stage"])
