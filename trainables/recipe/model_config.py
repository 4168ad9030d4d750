"""`model` of a recipe: the pretrained network."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema, model_validator

from trainables.core.config_errors import Config
from trainables.recipe.backbone_catalog import BACKBONE_PATTERN, checked_backbone, is_custom

WEIGHT_FILES = (".pt", ".pth", ".safetensors", ".ckpt", ".bin", ".tar")
"""Suffixes of weight files, by which they are told from names of weights."""


class ModelConfig(Config):
    """Pretrained network."""

    backbone: Annotated[
        str, AfterValidator(checked_backbone), WithJsonSchema({"type": "string", "pattern": BACKBONE_PATTERN})
    ]
    """Name of the network: a torchvision model; `efficientnet_lite0`, whose ImageNet weights come with the installation;
    `medicalnet_resnet50` and its siblings; `timm/NAME`; or `module:function`, your own function that returns a
    `trainables.models.Backbone`."""
    weights: str = "default"
    """Pretrained weights: `default` (the best published ones), `none`, the name of torchvision weights (`IMAGENET1K_V1`), or the
    path of a weight file."""

    @property
    def names_a_file(self) -> bool:
        """True if `weights` is a path."""
        return "/" in self.weights or self.weights.endswith(WEIGHT_FILES)

    @model_validator(mode="after")
    def _custom_backbone_has_its_own_weights(self) -> ModelConfig:
        if is_custom(self.backbone) and self.weights != "default":
            raise ValueError(f"{self.backbone} loads its own weights; remove weights: {self.weights}")
        return self
