"""Rules for images of all formats: their size, and the choice among several frames."""

from __future__ import annotations

import math

from PIL import Image

from trainables.recipe.data_settings.image_settings import Frame

MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 89_478_485)
"""Largest image, in pixels. Pillow takes larger ones for decompression bombs; here the limit holds for every format."""

MOST_VOXELS = 2**29
"""Largest volume: 512 × 512 voxels in 2,048 slices, which take 2 GiB as float32."""


def check_size(width: int, height: int) -> None:
    """Rejects images that are too small to show anything or too large for the memory.

    Raises:
        ValueError: if the size is outside the limits.
    """
    if min(width, height) < 2:
        raise ValueError(f"has {width} × {height} pixels; an image needs at least 2 along each side")
    if width * height > MOST_PIXELS:
        count = f"{width} × {height} = {width * height:,} pixels"
        raise ValueError(
            f"has {count}, more than the limit of {MOST_PIXELS:,}; cut it into patches, or make it smaller"
        )


def check_voxels(shape: tuple[int, ...], where: str = "") -> None:
    """Rejects volumes that are too small to show anything or too large for the memory.

    Args:
        shape: slices, rows and columns.
        where: end of the message, such as ` at this spacing`.
    Raises:
        ValueError: if the size is outside the limits.
    """
    if min(shape) < 2:
        raise ValueError(f"has {' × '.join(map(str, shape))} voxels; a volume needs at least 2 along each side")
    if math.prod(shape) > MOST_VOXELS:
        raise ValueError(f"has {' × '.join(map(str, shape))} voxels{where}, more than the limit of {MOST_VOXELS:,}")


def chosen_frame(count: int, frame: Frame | None) -> int:
    """Position of the frame to read in a file with `count` frames or pages.

    Raises:
        ValueError: if there are several and none is chosen, or the chosen one does not exist.
    """
    if frame is None and count > 1:
        raise ValueError(f"has {count} frames; choose one in data.frame: 0 to {count - 1}, or middle")
    at = count // 2 if frame == "middle" else frame or 0
    if at >= count:
        raise ValueError(
            f"has no frame {at}: its {count} frames are counted from 0" if count > 1 else f"has no frame {at}"
        )
    return at
