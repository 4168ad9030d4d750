"""Fast copies of networks. `deepcopy` takes as long as building a network, because it handles each setting separately."""

from __future__ import annotations

import copy
from collections import OrderedDict
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
        copied = thing.detach().clone()
        memo[id(thing)] = copied = nn.Parameter(copied, thing.requires_grad) if kind is nn.Parameter else copied
    elif kind is dict or kind is OrderedDict:
        memo[id(thing)] = copied = kind()
        for key, value in thing.items():
            copied[key] = _copy(value, memo)
    elif kind is set:
        memo[id(thing)] = copied = {_copy(value, memo) for value in thing}
    elif issubclass(kind, nn.Module) and not hasattr(kind, "__deepcopy__"):
        memo[id(thing)] = copied = kind.__new__(kind)
        own = vars(copied)
        for key, value in vars(thing).items():
            own[key] = value if type(value) in _IMMUTABLE else _copy(value, memo)
    else:
        copied = copy.deepcopy(thing, memo)
    return copied
