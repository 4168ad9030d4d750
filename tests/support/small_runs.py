"""Runs of a second or two, and what two of them have in common: all but times, or every bit."""

import dataclasses
import json

import torch

from tests.support.recipes import FEW
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.epoch_report import OF_THE_MACHINE


def stage(name, unfreeze_from, epochs, **fields):
    return {"name": name, "unfreeze_from": unfreeze_from, "epochs": epochs, "plateau": None, "head_lr": 0.05} | fields


def small_recipe(*, model=None, **train):
    """Of 46 images to train on and 39 to judge by."""
    return parse_recipe(
        {
            "data": {"source": "digits", "image_size": 32, "long_tail": {"imbalance": 10, "largest": 12}, **FEW},
            "model": model or {"backbone": "efficientnet_lite0"},
            "train": {"batch_size": 16, "optimizer": {"kind": "sgd"}, "metric": "balanced_accuracy"} | train,
        }
    )


def timeless(report):
    fields = dataclasses.asdict(report) if dataclasses.is_dataclass(report) else dict(report)
    return json.dumps({name: value for name, value in fields.items() if name not in OF_THE_MACHINE})


def differences(a, b, place="state"):
    """Where two nested states differ in a bit, a type or a key."""
    if type(a) is not type(b):
        return [f"{place}: {type(a).__name__} and {type(b).__name__}"]
    if isinstance(a, torch.Tensor):
        same = a.dtype == b.dtype and torch.equal(a, b)
        return [] if same else [place]
    if isinstance(a, dict):
        keys = [f"{place}.{key}" for key in a.keys() ^ b.keys()]
        return keys + [d for key in a.keys() & b.keys() for d in differences(a[key], b[key], f"{place}.{key}")]
    if isinstance(a, list | tuple):
        lengths = [f"{place}: length"] if len(a) != len(b) else []
        return lengths + [
            d for i, (x, y) in enumerate(zip(a, b, strict=False)) for d in differences(x, y, f"{place}[{i}]")
        ]
    return [] if a == b or (a != a and b != b) else [f"{place}: {a} and {b}"]
