"""Fast copies of networks. `deepcopy` takes as long as building a network, because it handles each setting separately."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from trainables.models.backbone import Backbone

_IMMUTABLE = {bool, str, int, float, type(None), torch.dtype}


def copy_backbone(parts: Backbone) -> Backbone:
    """Copies a network with its parameters and buffers."""
    memo: dict[int, Any] = {}
    blocks = {name: _copy(block, memo) for name, block in parts.blocks.items()}
    return replace(parts, blocks=blocks, pool=_copy(parts.pool, memo), hidden=_copy(parts.hidden, memo))


def _copy(thing: Any, memo: dict[int, Any]) -> Any:
    """Like `copy.deepcopy`, with shortcuts for the objects that networks consist of.

    Args:
        memo: id of an object -> its copy, so that an object that occurs twice is copied once.
    """
    kind = type(thing)
    if kind in _IMMUTABLE or (kind is tuple and all(type(part) in _IMMUTABLE for part in thing)):
        return thing
    if id(thing) in memo:
        return memo[id(thing)]
    copied: Any
    if kind is torch.Tensor or kind is nn.Parameter:
        memo[id(thing)] = copied = _copy_of_tensor(thing)
        return copied
    if kind is dict or kind is OrderedDict:
        return _fill(memo.setdefault(id(thing), kind()), thing, memo)
    if kind is set:
        memo[id(thing)] = copied = {_copy(value, memo) for value in thing}
        return copied
    if issubclass(kind, nn.Module) and not hasattr(kind, "__deepcopy__"):
        memo[id(thing)] = copied = kind.__new__(kind)
        _fill(vars(copied), vars(thing), memo)
        return copied
    return copy.deepcopy(thing, memo)


def _copy_of_tensor(tensor: torch.Tensor) -> torch.Tensor:
    copied = tensor.detach().clone()
    return nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


def _fill(copied: dict[Any, Any], original: Mapping[Any, Any], memo: dict[int, Any]) -> dict[Any, Any]:
    """Copies the values of a mapping. `copied` is in `memo` before, so that values may refer back to it."""
    for key, value in original.items():
        copied[key] = value if type(value) in _IMMUTABLE else _copy(value, memo)
    return copied
