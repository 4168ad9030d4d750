"""Optimizers that hold what trains and nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from trainables.models.staged_model import StagedModel
from trainables.recipe.train_config import Optimizer


def _uncompiled(kind: type[torch.optim.Optimizer]) -> Any:
    """The same optimizer without torch's compiler, which it imports to tell it to keep out: two seconds and 80 MB a process."""
    plain = {
        name: inspect.unwrap(getattr(kind, name))
        for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    }
    return type(kind.__name__, (kind,), {**plain, "step": torch.no_grad()(inspect.unwrap(kind.step))})


class _SGD(torch.optim.SGD):
    """Fused, torch's takes moments for all parameters of a group or for none, and some may have been carried: new ones are 0."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            new = [parameter for parameter in moving if self.state[parameter].get("momentum_buffer") is None]
            if group["momentum"] and len(new) < len(moving):
                for parameter in new:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return inspect.unwrap(torch.optim.SGD.step)(self, closure)


_KINDS = {
    "sgd": _uncompiled(_SGD),
    "adam": _uncompiled(torch.optim.Adam),
    "adamw": _uncompiled(torch.optim.AdamW),
}


def parameter_groups(model: StagedModel, *, layer_decay: float, weight_decay: float) -> list[dict[str, Any]]:
    """What trains of a model, grouped by how it trains.

    A group's `name` is `backbone` or `head`; its learning rate is that of its name times its `lr_scale`, which is 1 in the head
    and the last block and `layer_decay` times smaller with each block towards the input (Clark et al. 2020). Biases and the
    scales of norms do not decay: pulled to 0 they would undo what they are there for.
    """
    last = len(model.blocks) - 1
    parts = [("backbone", layer_decay ** (last - i), block) for i, block in enumerate(model.blocks)]
    groups: dict[tuple[str, float, float], list[nn.Parameter]] = {}
    for name, scale, module in [*parts, ("head", 1.0, model.head)]:
        for parameter in module.parameters():
            if parameter.requires_grad:
                decay = weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((name, scale, decay), []).append(parameter)
    return [
        {"name": name, "lr_scale": scale, "weight_decay": decay, "params": parameters}
        for (name, scale, decay), parameters in groups.items()
    ]


def build_optimizer(config: Optimizer, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
    """An optimizer of `parameter_groups`; their learning rates are set each epoch."""
    options: dict[str, Any] = (
        {"momentum": config.momentum} if config.kind == "sgd" else {"betas": (config.momentum, 0.999)}
    )
    # Fused: a step goes through each parameter once, not once for each operation.
    optimizer: torch.optim.Optimizer = _KINDS[config.kind](groups, lr=0.0, fused=True, **options)
    return optimizer


def carry_state(old: torch.optim.Optimizer, new: torch.optim.Optimizer) -> None:
    """Moves the moments of parameters that `old` and `new` share."""
    for group in new.param_groups:
        for parameter in group["params"]:
            if parameter in old.state:
                new.state[parameter] = old.state[parameter]
