"""Copies of networks. `deepcopy` takes as long as building one anew: it asks each setting whether it can change."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from trainables.models.backbone import Backbone

_SETTLED = {bool, str, int, float, type(None), torch.dtype}


def copy_of(parts: Backbone) -> Backbone:
    """The same network with parameters and buffers of its own."""
    memo: dict[int, Any] = {}
    blocks = {name: _copy(block, memo) for name, block in parts.blocks.items()}
    return replace(parts, blocks=blocks, pool=_copy(parts.pool, memo), hidden=_copy(parts.hidden, memo))


def _copy(thing: Any, memo: dict[int, Any]) -> Any:
    """`copy.deepcopy`, with short ways for what networks are made of.

    Args:
        memo: id of a thing -> its copy, so that what occurs twice is copied once.
    """
    kind = type(thing)
    if kind in _SETTLED or (kind is tuple and all(type(part) in _SETTLED for part in thing)):
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
            own[key] = value if type(value) in _SETTLED else _copy(value, memo)
    else:
        copied = copy.deepcopy(thing, memo)
    return copied
