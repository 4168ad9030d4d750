"""torchvision's networks and data sets, importable also where its compiled operators were built for another torch.

The only file that imports torchvision.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import torch

from trainables.models.compilation import compiler_left_out

_schemas: Any = None


def _import_models() -> ModuleType:
    with compiler_left_out():
        import torchvision.models

    module: ModuleType = torchvision.models
    return module


def _declare_missing_operators() -> None:
    """Declares the schemas whose absence stops the import. Models need none of the operators behind them."""
    global _schemas  # a Library unregisters what it declared when it is collected
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _schemas = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        _schemas.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _load() -> ModuleType:
    try:
        return _import_models()
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    _declare_missing_operators()
    return _import_models()


def image_sets() -> ModuleType:
    """torchvision's data sets."""
    import torchvision.datasets

    module: ModuleType = torchvision.datasets
    return module


models = _load()
Conv2dNormActivation = models.mobilenetv3.Conv2dNormActivation
"""Convolution, norm, activation: the layer all its mobile networks are made of."""
