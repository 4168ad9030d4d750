"""Backbone of the run beside this file. Its weights are computed, so that all versions of torch start from the same ones."""

import torch
from torch import nn

from trainables.models import Backbone


def block(c_in, c_out):
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride=2, padding=1), nn.BatchNorm2d(c_out), nn.ReLU())


def small():
    blocks = {"one": block(3, 6), "two": block(6, 6), "three": block(6, 12)}
    for module in blocks.values():
        weight = module[0].weight
        scattered = torch.arange(weight.numel()) * 7919 % 1009 - 504
        weight.data = scattered.reshape(weight.shape) / 1024
        module[0].bias.data.zero_()
    return Backbone(blocks=blocks, features=12, mean=(0.25, 0.25, 0.25), std=(0.5, 0.5, 0.5))
