"""What all tests share: a cache of decoded images of their own, one thread, and small recipes on real digits."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: test workers share the cores

import copy

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
