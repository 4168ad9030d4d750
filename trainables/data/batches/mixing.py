"""Mixing of each image of a batch with another image of the batch, each by its own share (MixUp and CutMix)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.recipe.augment_config import Mix


@dataclass(frozen=True, eq=False, kw_only=True)
class Mixing:
    """Parameters of mixing b images, or the feature maps or features of b images."""

    partners: Tensor
    """[b] int64, place in the batch of the image that each is mixed with."""
    share: Tensor
    """[b] float32, share of each image's own pixels or values; 1 where it is not mixed."""
    rectangles: Tensor | None = None
    """[b, 4] int64, left, top, right and bottom, in pixels, of the rectangle taken from the other image; empty where the two
    images are averaged instead. None: all are averaged."""


def draw_mixing(
    config: Mix, random: np.random.RandomState, count: int, *, size: int, device: torch.device | str
) -> Mixing:
    """Draws the mixing of a batch. Each other image of the batch is an equally likely partner; a lone image is its own partner.

    Args:
        config: probability and kinds of mixing.
        random: source of random numbers.
        count: images in the batch.
        size: side of the images, in pixels.
        device: device of the result.
    """
    partners = (np.arange(count) + random.randint(1, max(2, count), size=count)) % count
    is_mixed = random.random_sample(count) < config.probability
    has_rectangle = random.random_sample(count) < _share_of_rectangles(config)
    alphas = np.where(has_rectangle, config.cutmix_alpha or 1.0, config.mixup_alpha or 1.0)
    share = np.where(is_mixed, random.beta(alphas, alphas), 1.0)
    rectangles = None
    if config.cutmix_alpha is not None:
        drawn, area_left = _rectangles(share, size, random)
        rectangles = np.where(has_rectangle[:, None], drawn, 0)
        share = np.where(has_rectangle, area_left, share)
    return Mixing(
        partners=torch.from_numpy(partners).to(device),
        share=torch.from_numpy(share).float().to(device),
        rectangles=None if rectangles is None else torch.from_numpy(rectangles).to(device),
    )


def mixed(values: Tensor, mixing: Mixing) -> Tensor:
    """Mixes each image with its partner: share · itself + (1 − share) · partner, pixel by pixel where there are rectangles.

    Args:
        values: [b, …] images, feature maps or features; [b, c, h, w] images if there are rectangles.
        mixing: partners and shares.
    """
    own = mixing.share.view(-1, *[1] * (values.ndim - 1))
    if mixing.rectangles is not None:
        own = _share_of_pixels(own, mixing.rectangles, size=values.shape[-1])
    blend = values * own + values[mixing.partners] * (1 - own)
    return blend.to(values.dtype)  # shares are float32, but the output of an autocast prefix is not


def _share_of_rectangles(config: Mix) -> float:
    if config.mixup_alpha is None:
        return 1.0
    return 0.0 if config.cutmix_alpha is None else 0.5


def _rectangles(share: np.ndarray, size: int, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Draws rectangles of the image's proportions that leave a share of its area outside, and computes the true shares.

    As published, the centre may be anywhere, and the rectangle is cut off at the border.

    Returns:
        [b, 4] left, top, right and bottom, and [b] the share of pixels outside.
    """
    side = np.rint(size * np.sqrt(1 - share)).astype(np.int64)[:, None]
    start = random.randint(size, size=(len(share), 2)) - side // 2
    corners = np.concatenate([start, start + side], axis=1).clip(0, size)
    width_and_height = corners[:, 2:] - corners[:, :2]
    return corners, 1 - width_and_height.prod(axis=1) / size**2


def _share_of_pixels(share: Tensor, rectangles: Tensor, *, size: int) -> Tensor:
    """Share of each pixel, [b, 1, s, s]: 0 inside an image's rectangle and 1 outside; without one, the image's share everywhere."""
    left, top, right, bottom = rectangles[:, :, None].unbind(dim=1)
    at = torch.arange(size, device=share.device)
    columns, rows = (at >= left) & (at < right), (at >= top) & (at < bottom)
    outside = ~(columns[:, None, None, :] & rows[:, None, :, None])
    is_cut = (right > left)[:, :, None, None]
    return torch.where(is_cut, outside.float(), share)
