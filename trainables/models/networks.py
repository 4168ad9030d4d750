"""`Networks`: what each family of backbones implements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import NamedTuple, Protocol

import torch

from trainables.models.backbone import Backbone
from trainables.models.pretrained_weights import Pretrained
from trainables.recipe.backbone_catalog import family_of
from trainables.recipe.model_config import ModelConfig


class Start(NamedTuple):
    """Network at the start of training, without its last layer."""

    parts: Backbone
    mean: tuple[float, ...]
    """Mean that images are normalised with, one value per channel, for values in 0 … 1."""
    std: tuple[float, ...]
    fingerprint: str
    """Hash of the weights."""


class Networks(Protocol):
    """Networks of a family, which `BackboneFamily.networks` names."""

    def check(self, config: ModelConfig, *, image_size: int, depth: int | None) -> Pretrained | None:
        """Checks that a network can be built: loads the weights, or tries the user's function.

        Args:
            config: the recipe's section `model`.
            image_size: side of the images it will see, in pixels.
            depth: slices of the volumes it will see; None: it will see images.
        Returns:
            The pretrained weights; None for a user's function.
        Raises:
            ConfigError: if the network cannot be built.
        """

    def start(self, config: ModelConfig, generator: torch.Generator) -> Start:
        """Builds a network with its pretrained weights, which the caller may train.

        Args:
            config: the recipe's section `model`.
            generator: random numbers for a network without pretrained weights.
        Raises:
            ConfigError: if the weights cannot be loaded or the user's function fails.
        """


def networks_of(backbone: str) -> Networks:
    """Networks of a backbone's family."""
    networks: Networks = resolve_name(family_of(backbone).networks)
    return networks


@contextmanager
def drawing_as(generator: torch.Generator) -> Iterator[None]:
    """Draws torch's random numbers on the CPU from the generator's seed, without changing the process's own state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        yield
