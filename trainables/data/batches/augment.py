"""Augmentation: every image or volume of a batch varied in its own way, on the device, before it is normalised.

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

from trainables.core.seeding import uniform_numbers
from trainables.recipe.augment_config import Augment, Crop, Erase

_GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""
_ERASED_AREA_AT_LEAST, _ERASED_RATIO_AT_MOST = 0.02, 3.3  # as published (Zhong et al. 2020)

_DRAWS = (
    *("flip", "rotate", "translate_x", "translate_y", "zoom", "crop_area", "crop_ratio", "crop_x", "crop_y"),
    *("brightness", "contrast", "saturation", "erase", "erase_area", "erase_ratio", "erase_x", "erase_y"),
    *("flip_rows", "flip_slices", "tilt_x", "tilt_y", "translate_z", "crop_z", "erase_z"),
)
"""Each kind of variation has random numbers of its own: switching one on leaves the others as they are. Append only."""
Draws = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False, kw_only=True)
class Variation:
    """What is done to each of b images, in this order; None: nothing of that kind to any."""

    flipped: np.ndarray | None = None
    """[b] whether left and right change places."""
    flipped_rows: np.ndarray | None = None
    """[b] whether top and bottom do."""
    flipped_slices: np.ndarray | None = None
    """[b] whether a volume's first and last slice do."""
    sources: np.ndarray | None = None
    """[b, 2, 3] affine maps from a place in the result to the place it shows; (x, y), each from −1 to 1. Of volumes [b, 3, 4]; (x,
    y, z)."""
    erased: np.ndarray | None = None
    """[b, 4] left, top, width and height of the erased rectangle, as shares of the side; of volumes [b, 6] left, top, front, width,
    height and depth."""
    colours: np.ndarray | None = None
    """[b, 3] factors of brightness, contrast and saturation."""


def augment(images: Tensor, config: Augment, *, seed: int, positions: np.ndarray, versions: np.ndarray) -> Tensor:
    """Each image in a version of its own.

    Args:
        images: [b, h, w, c], or volumes [b, d, h, w, c]: uint8 or uint16, c 1 or 3; left as they are.
        positions: [b] of the images in the data set.
        versions: [b] which version of each image, see `version_numbers`.
    Returns:
        [b, …, c] in 0..255: float32, or uint8 where these were given and only whole pixels moved.
    """
    return vary(images, draw_variation(config, seed, positions, versions, size=tuple(images.shape[1:-1])))


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
    config: Augment, seed: int, positions: np.ndarray, versions: np.ndarray, *, size: tuple[int, ...]
) -> Variation:
    """What the config does to a version of each image; `size` is their height and width, or depth, height and width."""
    u = dict(zip(_DRAWS, uniform_numbers(seed, "augment", positions, versions, count=len(_DRAWS)), strict=True))
    strengths = {name: getattr(config, name) for name in ("brightness", "contrast", "saturation")}
    return Variation(
        flipped=u["flip"] < config.horizontal_flip if config.horizontal_flip else None,
        flipped_rows=u["flip_rows"] < config.vertical_flip if config.vertical_flip else None,
        flipped_slices=u["flip_slices"] < config.depth_flip if config.depth_flip else None,
        sources=_sources(config, u, size) if config.moves_pixels else None,
        erased=_erased(config.erase, u, len(size)) if config.erase else None,
        colours=np.stack([1 + s * _around_0(u[name]) for name, s in strengths.items()], axis=1)
        if any(strengths.values())
        else None,
    )


def _sources(config: Augment, u: Draws, size: tuple[int, ...]) -> np.ndarray:
    """The crop, which is then zoomed and turned about its centre and shifted; what lies around it comes into sight."""
    sides = np.array(size[::-1], float)
    zoom = (1 + config.zoom) ** _around_0(u["zoom"])
    shifts = [2 * config.translate * _around_0(u[f"translate_{axis}"]) for axis in "xyz"[: len(size)]]
    starts, shares = _boxes(config.crop or Crop(min_scale=1, max_ratio=1), u, len(size))
    # Angles are angles between voxels, however many there are along each side.
    turned = _turned(config, u, len(size)) / zoom[:, None, None] * (sides / sides[:, None])
    shifted = (turned * np.stack(shifts, axis=1)[:, None]).sum(axis=2)
    offsets = 2 * starts + shares - 1 - shares * shifted
    return np.concatenate([shares[:, :, None] * turned, offsets[:, :, None]], axis=2)


def _turned(config: Augment, u: Draws, dims: int) -> np.ndarray:
    """[b, dims, dims] rotations: within the slices, and of volumes after it about the other two axes."""
    angle = np.radians(config.rotate_degrees * _around_0(u["rotate"]))
    turned = _rotation(angle, 0, 1, dims)
    if dims == 3 and config.tilt_degrees:
        for axis, other in (("x", 1), ("y", 0)):
            tilt = _rotation(np.radians(config.tilt_degrees * _around_0(u[f"tilt_{axis}"])), other, 2, dims)
            # Not matmul: it may round differently in a batch of another size.
            turned = (turned[:, :, :, None] * tilt[:, None]).sum(axis=2)
    return turned


def _rotation(angle: np.ndarray, first: int, second: int, dims: int) -> np.ndarray:
    """[b, dims, dims] from [b] radians, in the plane of two axes."""
    matrix = np.tile(np.eye(dims), (len(angle), 1, 1))
    matrix[:, first, first] = matrix[:, second, second] = np.cos(angle)
    matrix[:, second, first] = np.sin(angle)
    matrix[:, first, second] = -matrix[:, second, first]
    return matrix


def _erased(config: Erase, u: Draws, dims: int) -> np.ndarray:
    boxes = np.concatenate(_boxes(config, u, dims), axis=1)
    return np.where((u["erase"] < config.probability)[:, None], boxes, 0.0)


def _boxes(config: Crop | Erase, u: Draws, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """[b, dims] starts and [b, dims] lengths along x, y (and z), as shares of the side: uniform in area and place, log-uniform in
    the ratio of the sides. Boxes are uniform in volume, and as deep as their rectangle would be wide if it were a square.

    A ratio at which the area does not fit is not drawn, rather than drawn again as is usual.
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
    """From [0, 1) to [−1, 1)."""
    return 2 * u - 1


# --- doing it: pixels -------------------------------------------------------------------------------------------------


def vary(images: Tensor, variation: Variation) -> Tensor:
    """Does to each image what the variation says.

    Args:
        images: [b, h, w, c], or volumes [b, d, h, w, c]: uint8 or uint16, c 1 or 3.
    Returns:
        [b, …, c] in 0..255: float32, or uint8 where these were given and only whole pixels moved.
    """

    def on_device(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(images.device, non_blocking=True)

    wide = images.dtype == torch.uint16
    if wide:
        images = images.float()  # few operations know uint16
    for flipped, axis in ((variation.flipped, -2), (variation.flipped_rows, -3), (variation.flipped_slices, -4)):
        if flipped is not None:
            images = torch.where(_of_each(on_device(flipped), images), images.flip(axis), images)
    if variation.sources is None and variation.erased is None and variation.colours is None:
        return images / 257 if wide else images
    original = planes = images.movedim(-1, 1).to(torch.float32, memory_format=torch.contiguous_format)
    if variation.sources is not None:
        planes = _looked_up(planes, on_device(variation.sources).float())
    if variation.erased is not None:
        planes = _without(planes, on_device(variation.erased), _mean_colours(original))
    if variation.colours is not None:
        planes = _recoloured(
            planes, on_device(variation.colours), _grey(_mean_colours(original)), 65535 if wide else 255
        )
    return (planes / 257 if wide else planes).movedim(1, -1)


def _of_each(values: Tensor, images: Tensor) -> Tensor:
    """[b] or [b, c] in a shape that goes with [b, …] or [b, c, …]."""
    return values.view(*values.shape, *[1] * (images.ndim - values.ndim))


def _looked_up(planes: Tensor, sources: Tensor) -> Tensor:
    """[b, c, (d,) h, w] whose pixels come from the places of an affine map, linear between them, mirrored at the borders."""
    sides = planes.shape[:1:-1]
    places = _of_each(sources[:, :, -1], planes)
    # Not affine_grid: a product of matrices may round differently in a batch of another size.
    for i, n in reversed(list(enumerate(sides))):
        centres = (torch.arange(n, device=planes.device) + 0.5) * (2 / n) - 1
        places = _of_each(sources[:, :, i], planes) * centres.view(-1, *[1] * i) + places
    return F.grid_sample(planes, places.movedim(1, -1), padding_mode="reflection", align_corners=False)


def _without(planes: Tensor, boxes: Tensor, colours: Tensor) -> Tensor:
    """[b, c, (d,) h, w] in which a rectangle or a box of each image has its colour, [b, c]."""
    sides = planes.shape[:1:-1]
    inside = torch.ones(len(planes), *[1] * (planes.ndim - 1), dtype=torch.bool, device=planes.device)
    for i, (n, start, side) in enumerate(zip(sides, *boxes.T.reshape(2, len(sides), -1), strict=True)):
        start, end = _of_each(start, planes), _of_each(start + side, planes)
        centres = ((torch.arange(n, device=planes.device) + 0.5) / n).view(-1, *[1] * i)
        inside = inside & (centres >= start) & (centres < end)
    return torch.where(inside, _of_each(colours.float(), planes), planes)


def _recoloured(planes: Tensor, factors: Tensor, mean_grey: Tensor, most: float) -> Tensor:
    """[b, c, …] after brightness, contrast about the mean grey, [b, 1], and saturation; clamped once, at the end.

    The three together are one affine map of a pixel: b · k · (s · colour + (1 − s) · grey) + b · (1 − k) · mean grey.
    """
    brightness, contrast, saturation = factors[:, :, None].unbind(dim=1)
    gain, offset = brightness * contrast, brightness * (1 - contrast) * mean_grey

    def of_each(values: Tensor) -> Tensor:
        return _of_each(values.float(), planes)

    of_grey = (_grey(planes) * of_each(gain * (1 - saturation))).add_(of_each(offset))
    return (planes * of_each(gain * saturation)).add_(of_grey).clamp_(0, most)


def _mean_colours(planes: Tensor) -> Tensor:
    """[b, c] float64 of uint8 or uint16 images as [b, c, …] float32."""
    # Sums of rows are whole numbers below 2²⁴ (in 256 places of 16 bits, too): exact, and so the same in every batch.
    rows = planes.flatten(2, -2)
    of_rows = planes.new_zeros(rows.shape[:3], dtype=torch.float64)
    for part in torch.split(rows, 256, dim=3):
        of_rows += part.sum(dim=3)
    return of_rows.sum(dim=2) / rows.shape[2:].numel()


def _grey(colours: Tensor) -> Tensor:
    """[b, 1, …] from [b, c, …], c 1 or 3."""
    if colours.shape[1] == 1:
        return colours
    red, green, blue = (colours[:, i : i + 1] for i in range(3))
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])
