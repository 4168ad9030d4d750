"""Augmentation: each image or volume of a batch is varied by itself, on the device, before it is normalised.

The variation of an image depends only on the seed, the image's position in the data set and its version number: not on the
batch, the order, or earlier draws. Each epoch shows a new version, or one of a fixed number of `views` that repeat
(`view_numbers`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.core.seeding import uniform_numbers
from trainables.models.precision import exact_float, for_device
from trainables.recipe.augment_config import Augment, Crop, Erase

_GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""
_ERASED_AREA_AT_LEAST, _ERASED_RATIO_AT_MOST = 0.02, 3.3  # as published (Zhong et al. 2020)

_DRAWS = (
    *("flip", "rotate", "translate_x", "translate_y", "zoom", "crop_area", "crop_ratio", "crop_x", "crop_y"),
    *("brightness", "contrast", "saturation", "erase", "erase_area", "erase_ratio", "erase_x", "erase_y"),
    *("flip_rows", "flip_slices", "tilt_x", "tilt_y", "translate_z", "crop_z", "erase_z"),
)
"""Names of the random numbers. Each kind of variation has its own, so that switching one on does not change the others.
Append only."""
Draws = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False, kw_only=True)
class Variation:
    """Parameters of the variation of each of b images, applied in this order; None: this kind is switched off."""

    flipped: np.ndarray | None = None
    """[b] bool: left and right are swapped."""
    flipped_rows: np.ndarray | None = None
    """[b] bool: top and bottom are swapped."""
    flipped_slices: np.ndarray | None = None
    """[b] bool: a volume's slices are reversed."""
    sources: np.ndarray | None = None
    """[b, 2, 3] affine maps from a position in the result to the position in the original that is shown there; (x, y), each from −1
    to 1. For volumes [b, 3, 4]; (x, y, z)."""
    erased: np.ndarray | None = None
    """[b, 4] left, top, width and height of the erased rectangle, as shares of the side; for volumes [b, 6] left, top, front,
    width, height and depth."""
    colours: np.ndarray | None = None
    """[b, 3] factors of brightness, contrast and saturation."""


def augment(images: Tensor, config: Augment, *, seed: int, positions: np.ndarray, versions: np.ndarray) -> Tensor:
    """Varies each image as its position and version number say.

    Args:
        images: [b, h, w, c], or volumes [b, d, h, w, c]: uint8 or uint16, c 1 or 3; not modified.
        config: kinds and strengths of variation.
        seed: seed of the training.
        positions: [b] positions of the images in the data set.
        versions: [b] version of each image, see `view_numbers`.
    Returns:
        [b, …, c] in 0..255: float32, or uint8 if the input is uint8 and at most flipped.
    """
    return apply_variation(images, draw_variation(config, seed, positions, versions, size=tuple(images.shape[1:-1])))


def view_numbers(order: np.ndarray, *, epoch: int, views: int | None) -> np.ndarray:
    """Version of the image at each place of an epoch's order: view (epoch − 1) mod `views`, or a new one each epoch.

    Where balanced sampling draws an image several times in an epoch, each occurrence shows the next version.

    Args:
        order: [k] positions of images in the data set, in the order of training.
        epoch: counted from 1.
        views: number of versions that repeat; None: new versions in each epoch.
    Returns:
        [k] int64 version numbers.
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
    config: Augment, seed: int, positions: np.ndarray, versions: np.ndarray, *, size: tuple[int, ...]
) -> Variation:
    """Draws the parameters of one version of each image.

    Args:
        config: kinds and strengths of variation.
        seed: seed of the training.
        positions: [b] positions of the images in the data set.
        versions: [b] version of each image.
        size: height and width of the images in pixels, or depth, height and width of volumes in voxels.
    """
    u = dict(zip(_DRAWS, uniform_numbers(seed, "augment", positions, versions, count=len(_DRAWS)), strict=True))
    strengths = {name: getattr(config, name) for name in ("brightness", "contrast", "saturation")}
    return Variation(
        flipped=u["flip"] < config.horizontal_flip if config.horizontal_flip else None,
        flipped_rows=u["flip_rows"] < config.vertical_flip if config.vertical_flip else None,
        flipped_slices=u["flip_slices"] < config.depth_flip if config.depth_flip else None,
        sources=_affine_maps(config, u, size) if config.moves_pixels else None,
        erased=_erased_boxes(config.erase, u, len(size)) if config.erase else None,
        colours=np.stack([1 + s * _around_0(u[name]) for name, s in strengths.items()], axis=1)
        if any(strengths.values())
        else None,
    )


def _affine_maps(config: Augment, u: Draws, size: tuple[int, ...]) -> np.ndarray:
    """Affine maps of a crop that is zoomed and rotated about its centre and then shifted, which can show what surrounds it."""
    sides = np.array(size[::-1], float)
    zoom = (1 + config.zoom) ** _around_0(u["zoom"])
    shifts = [2 * config.translate * _around_0(u[f"translate_{axis}"]) for axis in "xyz"[: len(size)]]
    starts, shares = _boxes(config.crop or Crop(min_scale=1, max_ratio=1), u, len(size))
    # Angles are measured in voxels: sides of different lengths must not shear the image.
    linear = _rotations(config, u, len(size)) / zoom[:, None, None] * (sides / sides[:, None])
    shifted = (linear * np.stack(shifts, axis=1)[:, None]).sum(axis=2)
    offsets = 2 * starts + shares - 1 - shares * shifted
    return np.concatenate([shares[:, :, None] * linear, offsets[:, :, None]], axis=2)


def _rotations(config: Augment, u: Draws, dims: int) -> np.ndarray:
    """Rotations [b, dims, dims]: in the plane of the slices, then, for volumes, about the other two axes."""
    angle = np.radians(config.rotate_degrees * _around_0(u["rotate"]))
    rotations = _rotation(angle, 0, 1, dims)
    if dims == 3 and config.tilt_degrees:
        for axis, other in (("x", 1), ("y", 0)):
            tilt = _rotation(np.radians(config.tilt_degrees * _around_0(u[f"tilt_{axis}"])), other, 2, dims)
            # Not matmul, which may round differently in a batch of another size.
            rotations = (rotations[:, :, :, None] * tilt[:, None]).sum(axis=2)
    return rotations


def _rotation(angle: np.ndarray, first: int, second: int, dims: int) -> np.ndarray:
    """Rotation matrices [b, dims, dims] in the plane of two axes, from [b] angles in radians."""
    matrix = np.tile(np.eye(dims), (len(angle), 1, 1))
    matrix[:, first, first] = matrix[:, second, second] = np.cos(angle)
    matrix[:, second, first] = np.sin(angle)
    matrix[:, first, second] = -matrix[:, second, first]
    return matrix


def _erased_boxes(config: Erase, u: Draws, dims: int) -> np.ndarray:
    boxes = np.concatenate(_boxes(config, u, dims), axis=1)
    return np.where((u["erase"] < config.probability)[:, None], boxes, 0.0)


def _boxes(config: Crop | Erase, u: Draws, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws rectangles or boxes: [b, dims] starts and [b, dims] lengths along x, y (and z), as shares of the side.

    Rectangles are uniform in area and position and log-uniform in the ratio of their sides. Boxes are uniform in volume, and
    as deep as a square of their rectangle's area is wide. Ratios are limited to those at which the area fits, instead of being
    drawn again as is usual.
    """
    if isinstance(config, Crop):
        kind, least, most, max_ratio = "crop", config.min_scale, 1.0, config.max_ratio
    else:
        kind, least, most, max_ratio = "erase", _ERASED_AREA_AT_LEAST, config.max_scale, _ERASED_RATIO_AT_MOST
    share = least + (most - least) * u[f"{kind}_area"]
    area = share if dims == 2 else share ** (2 / 3)
    ratio = np.minimum(max_ratio, 1 / area) ** _around_0(u[f"{kind}_ratio"])
    rectangle = (np.minimum(1, np.sqrt(area * ratio)), np.minimum(1, np.sqrt(area / ratio)))
    sides = rectangle if dims == 2 else (*rectangle, np.sqrt(area))
    starts = [(1 - side) * u[f"{kind}_{axis}"] for side, axis in zip(sides, "xyz"[:dims], strict=True)]
    return np.stack(starts, axis=1), np.stack(sides, axis=1)


def _around_0(u: np.ndarray) -> np.ndarray:
    """Maps [0, 1) to [−1, 1)."""
    return 2 * u - 1


# --- doing it: pixels -------------------------------------------------------------------------------------------------


def apply_variation(images: Tensor, variation: Variation) -> Tensor:
    """Applies a variation to each image.

    Args:
        images: [b, h, w, c], or volumes [b, d, h, w, c]: uint8 or uint16, c 1 or 3.
        variation: parameters of the b images.
    Returns:
        [b, …, c] in 0..255: float32, or uint8 if the input is uint8 and at most flipped.
    """

    def on_device(values: np.ndarray) -> Tensor:
        return for_device(values, images.device)

    wide = images.dtype == torch.uint16
    if wide:
        images = images.float()  # few operations support uint16
    for flipped, axis in ((variation.flipped, -2), (variation.flipped_rows, -3), (variation.flipped_slices, -4)):
        if flipped is not None:
            images = torch.where(_broadcastable(on_device(flipped), images), images.flip(axis), images)
    if variation.sources is None and variation.erased is None and variation.colours is None:
        return images / 257 if wide else images
    original = planes = images.movedim(-1, 1).to(torch.float32, memory_format=torch.contiguous_format)
    if variation.sources is not None:
        planes = _resampled(planes, on_device(variation.sources).float())
    if variation.erased is not None:
        planes = _filled(planes, on_device(variation.erased), _mean_colours(original))
    if variation.colours is not None:
        planes = _recoloured(
            planes, on_device(variation.colours), _grey(_mean_colours(original)), 65535 if wide else 255
        )
    return (planes / 257 if wide else planes).movedim(1, -1)


def _broadcastable(values: Tensor, images: Tensor) -> Tensor:
    """Reshapes [b] or [b, c] so that it broadcasts with [b, …] or [b, c, …]."""
    return values.view(*values.shape, *[1] * (images.ndim - values.ndim))


def _resampled(planes: Tensor, sources: Tensor) -> Tensor:
    """Images [b, c, (d,) h, w] sampled at the positions of an affine map, with linear interpolation, mirrored at the borders."""
    sides = planes.shape[:1:-1]
    places = _broadcastable(sources[:, :, -1], planes)
    # Not affine_grid, whose matrix product may round differently in a batch of another size.
    for i, n in reversed(list(enumerate(sides))):
        centres = (torch.arange(n, device=planes.device) + 0.5) * (2 / n) - 1
        places = _broadcastable(sources[:, :, i], planes) * centres.view(-1, *[1] * i) + places
    return F.grid_sample(planes, places.movedim(1, -1), padding_mode="reflection", align_corners=False)


def _filled(planes: Tensor, boxes: Tensor, colours: Tensor) -> Tensor:
    """Fills a rectangle or box of each image [b, c, (d,) h, w] with one colour, [b, c]."""
    sides = planes.shape[:1:-1]
    inside = torch.ones(len(planes), *[1] * (planes.ndim - 1), dtype=torch.bool, device=planes.device)
    for i, (n, start, side) in enumerate(zip(sides, *boxes.T.reshape(2, len(sides), -1), strict=True)):
        start, end = _broadcastable(start, planes), _broadcastable(start + side, planes)
        centres = ((torch.arange(n, device=planes.device) + 0.5) / n).view(-1, *[1] * i)
        inside = inside & (centres >= start) & (centres < end)
    return torch.where(inside, _broadcastable(colours.float(), planes), planes)


def _recoloured(planes: Tensor, factors: Tensor, mean_grey: Tensor, most: float) -> Tensor:
    """Changes brightness, contrast about the mean grey [b, 1], and saturation of images [b, c, …]; clamps once, at the end.

    Together they are one affine map of a pixel: b · k · (s · colour + (1 − s) · grey) + b · (1 − k) · mean grey.
    """
    brightness, contrast, saturation = factors[:, :, None].unbind(dim=1)
    gain, offset = brightness * contrast, brightness * (1 - contrast) * mean_grey

    def per_image(values: Tensor) -> Tensor:
        return _broadcastable(values.float(), planes)

    grey_term = (_grey(planes) * per_image(gain * (1 - saturation))).add_(per_image(offset))
    return (planes * per_image(gain * saturation)).add_(grey_term).clamp_(0, most)


def _mean_colours(planes: Tensor) -> Tensor:
    """Mean colours, [b, c] in the widest type of the device, of uint8 or uint16 images given as [b, c, …] float32."""
    # Sums over 256 pixels of a row are whole numbers below 2²⁴, with 16 bits, too: exact, so the same in every batch.
    rows = planes.flatten(2, -2)
    row_sums = planes.new_zeros(rows.shape[:3], dtype=exact_float(planes.device))
    for part in torch.split(rows, 256, dim=3):
        row_sums += part.sum(dim=3)
    return row_sums.sum(dim=2) / rows.shape[2:].numel()


def _grey(colours: Tensor) -> Tensor:
    """Grey values [b, 1, …] of colours [b, c, …], c 1 or 3."""
    if colours.shape[1] == 1:
        return colours
    red, green, blue = (colours[:, i : i + 1] for i in range(3))
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])
