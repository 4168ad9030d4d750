"""What all tests share: a cache of decoded images of their own, one thread, and small recipes on real digits."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: test workers share the cores

os.environ.setdefault("RAY_AUTH_MODE", "token")  # as `thaw` does: Ray reads it once, when it is first imported

import copy
import importlib
import itertools
import sys

import pytest

from trainables.recipe import parse_recipe

RECIPE = {
    "data": {"source": "digits", "image_size": 32, "validation": 0.1, "long_tail": {"imbalance": 10, "largest": 12}},
    "model": {"backbone": "efficientnet_lite0"},
    "train": {
        "metric": "balanced_accuracy",
        "batch_size": 16,
        "optimizer": {"kind": "sgd"},
        "stages": [
            {"name": "head", "unfreeze_from": "head", "epochs": 2, "head_lr": 0.05},
            {
                "name": "top",
                "unfreeze_from": "last:2",
                "epochs": 2,
                "head_lr": 0.05,
                "backbone_lr_ratio": 0.1,
                "backbone_warmup_epochs": 2,
                "head_frozen_epochs": 1,
            },
        ],
    },
}
"""Four epochs of 40 images in two stages: a second or two."""


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Decoded images of one test session; the user's are left alone."""
    before = os.environ.get("THAW_CACHE")
    os.environ["THAW_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["THAW_CACHE"]
    else:
        os.environ["THAW_CACHE"] = before


@pytest.fixture
def make_recipe():
    """`make_recipe(**train, data={}, model={})`: the small recipe with other values."""

    def make(*, data=None, model=None, **train):
        made = copy.deepcopy(RECIPE)
        made["data"] |= data or {}
        made["model"] |= model or {}
        made["train"] |= train
        return parse_recipe(made)

    return make


TINY_NETWORK = """
import torch
from torch import nn
from trainables.models import Backbone


def block(c_in, c_out):
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride=2, padding=1), nn.BatchNorm2d(c_out), nn.ReLU())


def tiny():
    blocks = {"one": block(3, 8), "two": block(8, 8), "three": block(8, 12)}
    return Backbone(blocks=blocks, features=12, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
"""
"""A backbone of a user's own, small enough for what is slow on others."""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """`own_module(code)` puts a module into the working directory and gives its name, a new one each time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(code=TINY_NETWORK):
        name = f"own_networks_{next(_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        importlib.invalidate_caches()
        return name

    return write


_NUMBERS = itertools.count()
