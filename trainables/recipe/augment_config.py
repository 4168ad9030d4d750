"""`train.augment` and `train.mix` of a recipe: how training images are varied, and mixed with each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from trainables.core.config_errors import Config


class Crop(Config):
    """Random resized crop: a rectangle of the image, or a box of the volume, is enlarged to the full size."""

    min_scale: float = Field(0.7, gt=0, le=1)
    """Smallest share of the area (of volumes: of the content) that a crop covers; the share is drawn between this and 1."""
    max_ratio: float = Field(4 / 3, ge=1)
    """Largest ratio of the longer side to the shorter one; 1 preserves the proportions. For volumes: of height and width."""


class Erase(Config):
    """Random erasing (Zhong et al. 2020): a rectangle, or a box of a volume, is filled with the mean colour of the whole."""

    probability: float = Field(0.25, ge=0, le=1)
    """Share of the images that lose a rectangle."""
    max_scale: float = Field(0.33, ge=0.02, le=1)
    """Largest share of the area (of volumes: of the content) that is erased; the share is drawn between 0.02 and this."""


class Augment(Config):
    """Random variations of the training images, drawn independently for each image. Each is off unless given.

    Pixels from beyond the border are mirrored.
    """

    views: int | None = Field(None, ge=1)
    """Number of views of each image: epoch e shows view (e − 1) mod `views`, and the next ones if the image is drawn again in the
    same epoch; null: a new view each time."""
    horizontal_flip: float = Field(0.0, ge=0, le=1)
    """Probability that left and right are swapped."""
    vertical_flip: float = Field(0.0, ge=0, le=1)
    """Probability that top and bottom are swapped."""
    depth_flip: float = Field(0.0, ge=0, le=1)
    """Probability that a volume's slices are reversed; volumes only."""
    crop: Crop | None = None
    rotate_degrees: float = Field(0.0, ge=0, le=180)
    """Largest rotation, in either direction; for volumes within the slices."""
    tilt_degrees: float = Field(0.0, ge=0, le=180)
    """Largest angle by which a volume is tilted forward or back, and to either side; volumes only."""
    translate: float = Field(0.0, ge=0, le=0.5)
    """Largest shift along each side, in either direction, as a share of the side."""
    zoom: float = Field(0.0, ge=0, le=1)
    """Largest change of scale, by a log-uniform factor from 1 / (1 + zoom) to 1 + zoom."""
    brightness: float = Field(0.0, ge=0, le=1)
    """Largest change of brightness: colours are multiplied by a factor from 1 − brightness to 1 + brightness."""
    contrast: float = Field(0.0, ge=0, le=1)
    """Largest change of contrast: distances from the image's mean grey are multiplied by a factor from 1 − contrast to
    1 + contrast."""
    saturation: float = Field(0.0, ge=0, le=1)
    """Largest change of saturation: distances of colours from grey are multiplied by a factor from 1 − saturation to
    1 + saturation."""
    erase: Erase | None = None

    @property
    def moves_pixels(self) -> bool:
        """True if images are cropped, rotated, shifted or zoomed."""
        return self.crop is not None or any((self.rotate_degrees, self.tilt_degrees, self.translate, self.zoom))


class Mix(Config):
    """Mixing of each training image with another one of its batch. The partner and the share of the image's own are drawn
    independently for each image. The loss is share · loss of its own label + (1 − share) · loss of the partner's label.
    """

    mixup_alpha: float | None = Field(None, gt=0)
    """MixUp (Zhang et al. 2018): averages the two images, with a share from Beta(alpha, alpha). With 0.2 one of them mostly
    dominates; with 1 all shares are equally likely."""
    cutmix_alpha: float | None = Field(None, gt=0)
    """CutMix (Yun et al. 2019), for images only: takes a rectangle from the partner; the share of the area that remains is from
    Beta(alpha, alpha). If both are given, each image gets one or the other with equal probability."""
    probability: float = Field(1.0, ge=0, le=1)
    """Share of the images that are mixed."""
    at: Literal["input", "cut"] = "input"
    """Place of the mixing. `cut` mixes the output of the frozen blocks (manifold mixup, Verma et al. 2019) instead of the images,
    and takes MixUp only. Frozen blocks then see plain images, so that their features can be cached."""

    @field_validator("at")
    @classmethod
    def _cutmix_at_input_only(cls, value: str, info: ValidationInfo) -> str:
        if value == "cut" and info.data.get("cutmix_alpha") is not None:
            raise ValueError(
                "'cut' works with MixUp only, because CutMix cuts rectangles from images; set at: input or drop cutmix_alpha"
            )
        return value

    @model_validator(mode="after")
    def _mixup_or_cutmix(self) -> Mix:
        if self.mixup_alpha is None and self.cutmix_alpha is None:
            raise ValueError("needs mixup_alpha, cutmix_alpha or both")
        return self
