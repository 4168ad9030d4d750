"""A small recipe on real digits, and a backbone small enough for what is slow on others."""

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
"""Four epochs of 46 images in two stages, validated on 179: a second or two."""

FEW = {"validation": 0.02}
"""39 images to validate on, for tests that do not ask how many there are."""

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
