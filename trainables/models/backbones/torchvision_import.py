"""torchvision's networks and data sets, importable even if its compiled operators were built for another version of torch.

No other file imports torchvision.
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
    """Declares the operators without which the import fails. Models do not use them."""
    global _schemas  # a Library removes its declarations when it is garbage-collected
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
"""Layer of all mobile networks in torchvision: convolution, norm, activation."""
