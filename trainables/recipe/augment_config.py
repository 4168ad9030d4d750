"""`train.augment` and `train.mix` of a recipe: how training images are varied, and mixed with each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from trainables.core.config_errors import Config


class Crop(Config):
    """Random resized crop: a rectangle of the image, or a box of the volume, becomes the whole."""

    min_scale: float = Field(0.7, gt=0, le=1)
    """Smallest share of the image's area, or the volume's content; the share is drawn from here to 1."""
    max_ratio: float = Field(4 / 3, ge=1)
    """Longer side over shorter one, at most; 1 keeps the proportions. Of volumes, height and width are meant."""


class Erase(Config):
    """Random erasing (Zhong et al. 2020): a rectangle, or a box of a volume, takes the mean colour of the whole."""

    probability: float = Field(0.25, ge=0, le=1)
    """Share of the images that lose a rectangle."""
    max_scale: float = Field(0.33, ge=0.02, le=1)
    """Largest share of the image's area, or the volume's content, that is lost; the share is drawn from 0.02 to here."""


class Augment(Config):
    """Variations of the training images, drawn for each image by itself. Each is off unless given.

    Pixels from beyond the border are mirrored ones.
    """

    views: int | None = Field(None, ge=1)
    """Number of versions of each image: epoch e shows version (e − 1) mod `views`, and the next ones where the image comes again in
    the same epoch; null: always a new one."""
    horizontal_flip: float = Field(0.0, ge=0, le=1)
    """Probability that left and right change places."""
    vertical_flip: float = Field(0.0, ge=0, le=1)
    """Probability that top and bottom change places."""
    depth_flip: float = Field(0.0, ge=0, le=1)
    """Probability that a volume's slices are reversed; volumes only."""
    crop: Crop | None = None
    rotate_degrees: float = Field(0.0, ge=0, le=180)
    """Largest angle, either way; of volumes within the slices."""
    tilt_degrees: float = Field(0.0, ge=0, le=180)
    """Largest angle, either way, by which a volume leans forward or back, and to a side; volumes only."""
    translate: float = Field(0.0, ge=0, le=0.5)
    """Largest shift along each side, either way, as a share of the side."""
    zoom: float = Field(0.0, ge=0, le=1)
    """Largest change of scale: by a factor from 1 / (1 + zoom) to 1 + zoom, log-uniform."""
    brightness: float = Field(0.0, ge=0, le=1)
    """Colours are multiplied by a factor from 1 − brightness to 1 + brightness."""
    contrast: float = Field(0.0, ge=0, le=1)
    """Distances from the image's mean grey are multiplied by a factor from 1 − contrast to 1 + contrast."""
    saturation: float = Field(0.0, ge=0, le=1)
    """Distances of colours from grey are multiplied by a factor from 1 − saturation to 1 + saturation."""
    erase: Erase | None = None

    @property
    def moves_pixels(self) -> bool:
        """Whether images are cropped, turned, shifted or zoomed."""
        return self.crop is not None or any((self.rotate_degrees, self.tilt_degrees, self.translate, self.zoom))


class Mix(Config):
    """Training images mixed with each other, drawn for each image by itself: with which other image of its batch, and what
    share of it stays. The loss is shared out likewise: share · loss of its own label + (1 − share) · loss of the other's.
    """

    mixup_alpha: float | None = Field(None, gt=0)
    """MixUp (Zhang et al. 2018): the two are averaged, with a share from Beta(alpha, alpha). 0.2 mostly leaves one of them, 1
    draws all shares alike."""
    cutmix_alpha: float | None = Field(None, gt=0)
    """CutMix (Yun et al. 2019), of images only: a rectangle comes from the other one, and Beta(alpha, alpha) says what share of the
    area stays. Where both are given, each image gets one or the other, at even odds."""
    probability: float = Field(1.0, ge=0, le=1)
    """Share of the images that are mixed."""
    at: Literal["input", "cut"] = "input"
    """`cut` mixes what leaves the frozen blocks (manifold mixup, Verma et al. 2019) instead of the images: MixUp only. Frozen
    blocks then see plain images, whose features can be kept."""

    @field_validator("at")
    @classmethod
    def _rectangles_are_cut_from_images(cls, value: str, info: ValidationInfo) -> str:
        if value == "cut" and info.data.get("cutmix_alpha") is not None:
            raise ValueError(
                "'cut' takes MixUp only: CutMix cuts rectangles from images; set at: input or drop cutmix_alpha"
            )
        return value

    @model_validator(mode="after")
    def _some_way_of_mixing(self) -> Mix:
        if self.mixup_alpha is None and self.cutmix_alpha is None:
            raise ValueError("needs mixup_alpha, cutmix_alpha or both")
        return self
