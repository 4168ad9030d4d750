"""Augmentation: every image of a batch varied in its own way, on the device, before it is normalised.

What happens to an image depends on the seed, its position in the data set and the number of its version, and on nothing
else: neither on the batch it happens to be in, nor on the order, nor on what was drawn before. A version is new in each
epoch, or one of a fixed number of `views` that come back (`version_numbers`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.data.seeding import uniform_numbers
from trainables.data_config import Augment, Crop, Erase

_GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""
_ERASED_AREA_AT_LEAST, _ERASED_RATIO_AT_MOST = 0.02, 3.3  # as published (Zhong et al. 2020)

_DRAWS = (
    *("flip", "rotate", "translate_x", "translate_y", "zoom", "crop_area", "crop_ratio", "crop_x", "crop_y"),
    *("brightness", "contrast", "saturation", "erase", "erase_area", "erase_ratio", "erase_x", "erase_y"),
)
"""Each kind of variation has random numbers of its own: switching one on leaves the others as they are. Append only."""
Draws = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False, kw_only=True)
class Variation:
    """What is done to each of b images, in this order; None: nothing of that kind to any."""

    flipped: np.ndarray | None = None
    """[b] whether left and right change places."""
    sources: np.ndarray | None = None
    """[b, 2, 3] affine maps from a place in the result to the place it shows; (x, y), each from −1 to 1."""
    erased: np.ndarray | None = None
    """[b, 4] left, top, width and height of the erased rectangle, as shares of the side."""
    colours: np.ndarray | None = None
    """[b, 3] factors of brightness, contrast and saturation."""


def augment(images: Tensor, config: Augment, *, seed: int, positions: np.ndarray, versions: np.ndarray) -> Tensor:
    """Each image in a version of its own.

    Args:
        images: [b, h, w, c] uint8 or uint16, c 1 or 3; left as they are.
        positions: [b] of the images in the data set.
        versions: [b] which version of each image, see `version_numbers`.
    Returns:
        [b, h, w, c] in 0..255: float32, or uint8 where these were given and only whole pixels moved.
    """
    return vary(images, draw_variation(config, seed, positions, versions, size=(images.shape[1], images.shape[2])))


def version_numbers(order: np.ndarray, *, epoch: int, views: int | None) -> np.ndarray:
    """[k] which version of its image each place of an epoch's order shows: view (epoch − 1) mod `views`, or a new one.

    Where an image comes several times in an epoch, as balanced sampling draws it, each time shows the next version.

    Args:
        order: [k] positions.
        epoch: counted from 1.
    """
    by_image = np.argsort(order, kind="stable")
    is_first = np.diff(order[by_image], prepend=-1) != 0
    place = np.arange(len(order))
    repeats = np.empty(len(order), np.int64)
    repeats[by_image] = place - np.maximum.accumulate(np.where(is_first, place, 0))
    if views is None:
        return (epoch - 1) + (repeats << 32)  # repeats must not meet the versions of later epochs
    return (epoch - 1 + repeats) % views


# --- what to do: numbers ----------------------------------------------------------------------------------------------


def draw_variation(
    config: Augment, seed: int, positions: np.ndarray, versions: np.ndarray, *, size: tuple[int, int]
) -> Variation:
    """What the config does to a version of each image; `size` is their height and width."""
    u = dict(zip(_DRAWS, uniform_numbers(seed, "augment", positions, versions, count=len(_DRAWS)), strict=True))
    strengths = {name: getattr(config, name) for name in ("brightness", "contrast", "saturation")}
    return Variation(
        flipped=u["flip"] < config.horizontal_flip if config.horizontal_flip else None,
        sources=_sources(config, u, size) if config.moves_pixels else None,
        erased=_erased(config.erase, u) if config.erase else None,
        colours=np.stack([1 + s * _around_0(u[name]) for name, s in strengths.items()], axis=1)
        if any(strengths.values())
        else None,
    )


def _sources(config: Augment, u: Draws, size: tuple[int, int]) -> np.ndarray:
    """The crop, which is then zoomed and turned about its centre and shifted; what lies around it comes into sight."""
    angle = np.radians(config.rotate_degrees * _around_0(u["rotate"]))
    zoom = (1 + config.zoom) ** _around_0(u["zoom"])
    shift_x, shift_y = (2 * config.translate * _around_0(u[f"translate_{axis}"]) for axis in "xy")
    left, top, width, height = _rectangles(config.crop or Crop(min_scale=1, max_ratio=1), u)
    cos, sin, aspect = np.cos(angle) / zoom, np.sin(angle) / zoom, size[0] / size[1]
    in_x, in_y = (cos, -sin * aspect), (sin / aspect, cos)
    return np.stack(
        [
            np.stack([side * x, side * y, 2 * start + side - 1 - side * (x * shift_x + y * shift_y)], axis=1)
            for (x, y), start, side in ((in_x, left, width), (in_y, top, height))
        ],
        axis=1,
    )


def _erased(config: Erase, u: Draws) -> np.ndarray:
    rectangles = np.stack(_rectangles(config, u), axis=1)
    return np.where((u["erase"] < config.probability)[:, None], rectangles, 0.0)


def _rectangles(config: Crop | Erase, u: Draws) -> tuple[np.ndarray, ...]:
    """Left, top, width and height as shares of the side: uniform in area and place, log-uniform in the ratio of the sides.

    A ratio at which the area does not fit is not drawn, rather than drawn again as is usual.
    """
    if isinstance(config, Crop):
        kind, least, most, max_ratio = "crop", config.min_scale, 1.0, config.max_ratio
    else:
        kind, least, most, max_ratio = "erase", _ERASED_AREA_AT_LEAST, config.max_scale, _ERASED_RATIO_AT_MOST
    area = least + (most - least) * u[f"{kind}_area"]
    ratio = np.minimum(max_ratio, 1 / area) ** _around_0(u[f"{kind}_ratio"])
    width, height = np.minimum(1, np.sqrt(area * ratio)), np.minimum(1, np.sqrt(area / ratio))
    return (1 - width) * u[f"{kind}_x"], (1 - height) * u[f"{kind}_y"], width, height


def _around_0(u: np.ndarray) -> np.ndarray:
    """From [0, 1) to [−1, 1)."""
    return 2 * u - 1


# --- doing it: pixels -------------------------------------------------------------------------------------------------


def vary(images: Tensor, variation: Variation) -> Tensor:
    """Does to each image what the variation says.

    Args:
        images: [b, h, w, c] uint8 or uint16, c 1 or 3.
    Returns:
        [b, h, w, c] in 0..255: float32, or uint8 where these were given and only whole pixels moved.
    """

    def on_device(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(images.device, non_blocking=True)

    wide = images.dtype == torch.uint16
    if wide:
        images = images.float()  # few operations know uint16
    if variation.flipped is not None:
        images = torch.where(on_device(variation.flipped)[:, None, None, None], images.flip(2), images)
    if variation.sources is None and variation.erased is None and variation.colours is None:
        return images / 257 if wide else images
    original = planes = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    if variation.sources is not None:
        planes = _looked_up(planes, on_device(variation.sources).float())
    if variation.erased is not None:
        planes = _without(planes, on_device(variation.erased), _mean_colours(original))
    if variation.colours is not None:
        planes = _recoloured(
            planes, on_device(variation.colours), _grey(_mean_colours(original)), 65535 if wide else 255
        )
    return (planes / 257 if wide else planes).permute(0, 2, 3, 1)


def _looked_up(planes: Tensor, sources: Tensor) -> Tensor:
    """[b, c, h, w] whose pixels come from the places of an affine map, bilinear, mirrored at the borders."""
    height, width = planes.shape[2:]
    x, y = (((torch.arange(n, device=planes.device) + 0.5) * (2 / n) - 1) for n in (width, height))
    # Not affine_grid: a product of matrices may round differently in a batch of another size.
    along_x, along_y = sources[:, :, :1] * x, sources[:, :, 1:2] * y + sources[:, :, 2:]
    grid = along_x[:, :, None, :] + along_y[:, :, :, None]
    return F.grid_sample(planes, grid.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=False)


def _without(planes: Tensor, rectangles: Tensor, colours: Tensor) -> Tensor:
    """[b, c, h, w] in which a rectangle of each image has its colour, [b, c]."""
    inside = []
    for n, start, side in zip((planes.shape[3], planes.shape[2]), *rectangles.T.reshape(2, 2, -1, 1), strict=True):
        centres = (torch.arange(n, device=planes.device) + 0.5) / n
        inside.append((centres >= start) & (centres < start + side))
    columns, rows = inside
    mask = columns[:, None, None, :] & rows[:, None, :, None]
    return torch.where(mask, colours.float()[:, :, None, None], planes)


def _recoloured(planes: Tensor, factors: Tensor, mean_grey: Tensor, most: float) -> Tensor:
    """[b, c, h, w] after brightness, contrast about the mean grey, [b, 1], and saturation; clamped once, at the end.

    The three together are one affine map of a pixel: b · k · (s · colour + (1 − s) · grey) + b · (1 − k) · mean grey.
    """
    brightness, contrast, saturation = factors[:, :, None].unbind(dim=1)
    gain, offset = brightness * contrast, brightness * (1 - contrast) * mean_grey

    def of_each(values: Tensor) -> Tensor:
        return values.float()[:, :, None, None]

    of_grey = (_grey(planes) * of_each(gain * (1 - saturation))).add_(of_each(offset))
    return (planes * of_each(gain * saturation)).add_(of_grey).clamp_(0, most)


def _mean_colours(planes: Tensor) -> Tensor:
    """[b, c] float64 of uint8 or uint16 images as [b, c, h, w] float32."""
    # Sums of rows are whole numbers below 2²⁴ (in 256 places of 16 bits, too): exact, and so the same in every batch.
    of_rows = planes.new_zeros(planes.shape[:3], dtype=torch.float64)
    for part in torch.split(planes, 256, dim=3):
        of_rows += part.sum(dim=3)
    return of_rows.sum(dim=2) / planes.shape[2:].numel()


def _grey(colours: Tensor) -> Tensor:
    """[b, 1, …] from [b, c, …], c 1 or 3."""
    if colours.shape[1] == 1:
        return colours
    red, green, blue = (colours[:, i : i + 1] for i in range(3))
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])
