"""`Networks`: what each family of backbones offers, and which family a name belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import NamedTuple, Protocol

import torch

from trainables.models.backbone import Backbone
from trainables.recipe.backbone_catalog import family_of
from trainables.recipe.recipe import ModelConfig


class Start(NamedTuple):
    """A network as training begins with it, but for its last layer."""

    parts: Backbone
    mean: tuple[float, ...]
    """What images are normalised with, one value a channel, for values in 0 … 1."""
    std: tuple[float, ...]
    fingerprint: str
    """Of the weights."""


class Networks(Protocol):
    """The networks of a family; `BackboneFamily.networks` names one."""

    def check(self, config: ModelConfig, *, image_size: int, depth: int | None) -> None:
        """Looks at what a network is made from: its weights, or the user's function.

        Args:
            depth: slices of the volumes that it will see; None: it will see images.
        Raises:
            ConfigError: if no network can be made from it.
        """

    def start(self, config: ModelConfig, generator: torch.Generator) -> Start:
        """A network with its pretrained weights, which the caller may train.

        Args:
            generator: where a network without weights is drawn from.
        Raises:
            ConfigError: if the weights cannot be had.
        """


def networks_of(backbone: str) -> Networks:
    """The networks of the family that a backbone belongs to."""
    networks: Networks = resolve_name(family_of(backbone).networks)
    return networks


@contextmanager
def drawing_as(generator: torch.Generator) -> Iterator[None]:
    """Torch's random numbers on the CPU from the generator's seed, the process's own left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        yield
