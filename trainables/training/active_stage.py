"""`ActiveStage`: the part of the model that trains during one stage, its optimizer, its weight average and its best weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn

from trainables.models.compilation import check_compiler, recompile
from trainables.models.staged_model import StagedModel, Tail
from trainables.recipe.recipe import Recipe
from trainables.training.ema import carry_average, set_decay, weight_average
from trainables.training.freezing import apply_opening, set_training_mode
from trainables.training.learning_rates import Rates
from trainables.training.optimizers import build_optimizer, carry_state, parameter_groups, set_rates
from trainables.training.replicas import Replicas
from trainables.training.stage_plan import EpochPlan, Opening, opening_of


class ActiveStage:
    """One stage of training on a model."""

    def __init__(
        self,
        model: StagedModel,
        recipe: Recipe,
        index: int,
        before: ActiveStage | None = None,
        *,
        opens_blocks: bool = True,
        device: torch.device,
        replicas: Replicas,
    ):
        """Starts a stage from the best weights of the one before, or continues that one if the recipe says so.

        Args:
            model: network to train.
            recipe: recipe of the run, with the changes that are due.
            index: position of the stage in the recipe.
            before: stage before it; None: the stage starts from the model's current weights.
            opens_blocks: whether it opens blocks that have never been open. All moments then start from zero, unless it continues:
                the old ones belong to a network whose lower blocks did not change.
            device: device the model is on.
            replicas: processes that train the run together.
        """
        self._model, self._train, self._replicas = model, recipe.train, replicas
        self._index, self._bn_affine = index, recipe.bn_affine
        self.stage = recipe.train.stages[index]
        if before and not self.stage.continues:
            before.restore_best()
        self._with_head = opening_of(recipe, index, head=True)
        self.cut = self._with_head.cut
        self.tail = model.tail(self.cut)
        self.tail.head.dropout.p = self.stage.dropout
        self.tail.recomputes = recipe.train.gradient_checkpointing
        ema = recipe.train.ema
        self._ema = weight_average(self.tail, ema) if ema else None
        if recipe.train.compile:
            check_compiler(device)
        self._opening: Opening | None = None
        self._scaler = torch.amp.GradScaler(device.type, enabled=recipe.train.precision == "fp16")
        self.optimizer: torch.optim.Optimizer | None = None
        if before and (self.stage.continues or not opens_blocks):
            self.optimizer = before.optimizer
        if before and self.stage.continues:
            self._scaler.load_state_dict(before._scaler.state_dict())
            if self._ema is not None and before._ema is not None:
                carry_average(before._ema, self._ema)
        self._rates: Iterator[Rates] = iter(())
        self._best_score = recipe.train.metric.worst
        self._best_weights: dict[str, Tensor] | None = None
        self._best_is_now = False

    @property
    def validated(self) -> dict[str, nn.Module]:
        """Tails to validate: `raw`, the current weights, and `ema`, their average if there is one; the scored one comes first.

        They are never compiled.
        """
        raw: dict[str, nn.Module] = {"raw": self._model.tail(self.cut)}
        ema = self._train.ema
        if ema is None or self._ema is None:
            return raw
        average: dict[str, nn.Module] = {"ema": self._ema.module}
        return {**average, **raw} if ema.judge == "ema" else {**raw, **average}

    @property
    def scored_tail(self) -> nn.Module:
        """Tail whose validation metrics are those of the epoch."""
        return next(iter(self.validated.values()))

    def change(self, recipe: Recipe, *, cosine_scale: float | None) -> None:
        """Continues with a recipe that differs only in values that may change (`changes.CHANGEABLE`). Call between two epochs.

        Args:
            recipe: the changed recipe.
            cosine_scale: scale of a cosine head; None: the head is linear.
        """
        assert self._opening is not None
        self._train, self.stage = recipe.train, recipe.train.stages[self._index]
        self.tail.head.dropout.p = self.stage.dropout
        self.tail.head.set_scale(cosine_scale)
        if self._ema is not None:
            assert recipe.train.ema is not None
            set_decay(self._ema, recipe.train.ema)
            average = self._ema.module
            assert isinstance(average, Tail)
            average.head.set_scale(cosine_scale)
        self._open(self._opening)

    def begin_epoch(self, plan: EpochPlan) -> None:
        """Opens the blocks that the plan names, with an optimizer for exactly their parameters and the plan's rates."""
        if plan.opening != self._opening:
            self._open(plan.opening)
        self._rates = cycle(plan.rates)
        set_training_mode(self._model, plan.opening)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a loss to those of the next step."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, *, measure: bool = False) -> Tensor | None:
        """Updates the open parameters with the accumulated gradients; skips the update if they overflowed in fp16.

        Args:
            measure: whether to measure the norm of the gradient, if it is not clipped, which measures it.
        Returns:
            [] norm of the gradient before clipping; None if it was not measured, or the update was skipped.
        """
        assert self.optimizer is not None
        self._replicas.sum(p.grad for p in self.tail.parameters() if p.grad is not None)
        # Each process normalises its own part by that part's statistics; running statistics are averaged over all parts.
        self._replicas.average(buffer for buffer in self.tail.buffers() if buffer.is_floating_point())
        scale, norm = self._scaler.get_scale(), None
        if self._train.clip_norm is not None:
            self._scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.tail.parameters(), self._train.clip_norm)
        elif measure:
            norm = nn.utils.get_total_norm([p.grad for p in self.tail.parameters() if p.grad is not None]) / scale
        set_rates(self.optimizer, next(self._rates))
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad()
        skipped = self._scaler.get_scale() < scale
        if self._ema is not None and not skipped:
            self._ema.update_parameters(self.tail)
        return None if skipped else norm

    def store_if_best(self, score: float) -> None:
        """Stores the validated weights if this is the best score of the stage so far."""
        self._best_is_now = self._train.metric.better(score, self._best_score)
        if self._best_is_now:
            self._best_score = score
            self._best_weights = {name: tensor.clone() for name, tensor in self.scored_tail.state_dict().items()}

    def restore_best(self) -> None:
        """Puts the stage's best weights back into the model; does nothing if no epoch had a score."""
        if self._best_weights is not None:
            self.tail.load_state_dict(self._best_weights)

    def state_dict(self) -> dict[str, Any]:
        """State of the stage after an epoch, without the model's own weights."""
        assert self.optimizer is not None
        assert self._opening is not None
        # If they are the current weights, refer to the same tensors: a file then stores them only once.
        best = dict(self.scored_tail.state_dict()) if self._best_is_now else self._best_weights
        return {
            "cut": self._model.block_of(self.cut),
            "head_trains": self._opening.head,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "ema": self._ema.state_dict() if self._ema else None,
            "best": {"score": self._best_score, "weights": best},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state of the same stage; the model's own weights have been restored before.

        Raises:
            ValueError: if the state belongs to another network.
        """
        self._open(self._with_head._replace(head=state["head_trains"]))
        assert self.optimizer is not None
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            if mismatched := [
                name for name, t in moments.items() if torch.is_tensor(t) and t.shape not in {parameter.shape, ()}
            ]:
                raise ValueError(f"{mismatched[0]} does not have the shape of its parameter, {tuple(parameter.shape)}")
        self._scaler.load_state_dict(state["scaler"])
        if self._ema is not None:
            self._ema.load_state_dict(state["ema"])
        self._best_score, self._best_weights = float(state["best"]["score"]), state["best"]["weights"]
        if self._best_weights is not None:
            shapes = {name: tensor.shape for name, tensor in self.tail.state_dict().items()}
            if {name: tensor.shape for name, tensor in self._best_weights.items()} != shapes:
                raise ValueError("the stage's best weights belong to another network")

    def _open(self, opening: Opening) -> None:
        apply_opening(self._model, opening, bn_affine=self._bn_affine)
        config = self._train.optimizer
        decays = {"layer_decay": config.layer_decay, "weight_decay": self.stage.weight_decay}
        optimizer = build_optimizer(config, parameter_groups(self._model, **decays))
        if self.optimizer is not None:
            carry_state(self.optimizer, optimizer)
        self._opening, self.optimizer = opening, optimizer
        if self._train.compile:
            recompile(self.tail)
