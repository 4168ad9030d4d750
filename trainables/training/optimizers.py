"""Optimizers for the parameters that train."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from trainables.models import precision
from trainables.models.staged_model import StagedModel
from trainables.recipe.train_config import Optimizer
from trainables.training.learning_rates import Rates


def _uncompiled(kind: type[torch.optim.Optimizer]) -> Any:
    """Returns the same optimizer without its hooks for torch's compiler, whose import costs each process two seconds and 80 MB."""
    plain = {
        name: inspect.unwrap(getattr(kind, name))
        for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    }
    return type(kind.__name__, (kind,), {**plain, "step": torch.no_grad()(inspect.unwrap(kind.step))})


class _SGD(torch.optim.SGD):
    """SGD whose moments start from 0, as Adam's do. A first step is the same: 0 · momentum + gradient.

    torch's fused SGD allocates them without values for the first step of all parameters of a group. If a gradient scaler skips that
    step they stay undefined, and if some parameters have carried moments over it needs those of the others.
    """

    def step(self, closure: Any = None) -> Any:
        """Updates the parameters; see `torch.optim.SGD.step`."""
        for group in self.param_groups:
            for parameter in group["params"] if group["momentum"] else ():
                if parameter.grad is not None and self.state[parameter].get("momentum_buffer") is None:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return inspect.unwrap(torch.optim.SGD.step)(self, closure)


_KINDS = {
    "sgd": _uncompiled(_SGD),
    "adam": _uncompiled(torch.optim.Adam),
    "adamw": _uncompiled(torch.optim.AdamW),
}


def parameter_groups(model: StagedModel, *, layer_decay: float, weight_decay: float) -> list[dict[str, Any]]:
    """Groups the parameters of a model that train by learning rate and weight decay.

    A group's `name` is `backbone` or `head`. Its learning rate is that of its name times its `lr_scale`, which is 1 in the head and
    the last block and is multiplied by `layer_decay` with each block towards the input (Clark et al. 2020). Biases and the scales
    of norms have no weight decay, which would pull them to 0 and defeat their purpose.

    Args:
        model: model with the parameters.
        layer_decay: factor from the learning rate of a block to that of the block before it.
        weight_decay: weight decay of weights with more than one dimension.
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
    """Builds an optimizer for `parameter_groups`; `set_rates` sets the learning rates before each step."""
    options: dict[str, Any] = (
        {"momentum": config.momentum} if config.kind == "sgd" else {"betas": (config.momentum, 0.999)}
    )
    # Fused: a step passes over each parameter once instead of once for each operation. On mps it was wrong more than once.
    fused = all(parameter.device.type != precision.APPLE for group in groups for parameter in group["params"])
    optimizer: torch.optim.Optimizer = _KINDS[config.kind](groups, lr=0.0, fused=fused, **options)
    return optimizer


def set_rates(optimizer: torch.optim.Optimizer, rates: Rates) -> None:
    """Sets the learning rates and the momentum of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = (rates.head_lr if group["name"] == "head" else rates.backbone_lr) * group["lr_scale"]
        if "betas" in group:
            group["betas"] = (rates.momentum, group["betas"][1])
        else:
            group["momentum"] = rates.momentum


def carry_state(old: torch.optim.Optimizer, new: torch.optim.Optimizer) -> None:
    """Carries over the moments of the parameters that `old` and `new` share."""
    for group in new.param_groups:
        for parameter in group["params"]:
            if parameter in old.state:
                new.state[parameter] = old.state[parameter]
