"""What counts as one image, whatever the format: how large it is, and which of several frames is meant."""

from __future__ import annotations

import math

from PIL import Image

from trainables.recipe.data_config import Frame

MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 89_478_485)
"""Beyond this Pillow takes a file for a decompression bomb, and so do we in every format."""

MOST_VOXELS = 2**29
"""512 × 512 voxels in 2,048 slices, which take 2 GiB as they are read."""


def check_size(width: int, height: int) -> None:
    """Refuses what shows nothing and what would not fit into memory.

    Raises:
        ValueError: that says what is wrong.
    """
    if min(width, height) < 2:
        raise ValueError(f"has {width} × {height} pixels; an image has at least 2 along each side")
    if width * height > MOST_PIXELS:
        count = f"{width} × {height} = {width * height:,} pixels"
        raise ValueError(
            f"has {count}, more than the limit of {MOST_PIXELS:,}; cut it into patches, or make it smaller"
        )


def check_voxels(shape: tuple[int, ...]) -> None:
    """The same for volumes.

    Raises:
        ValueError: that says what is wrong.
    """
    if min(shape) < 2:
        raise ValueError(f"has {' × '.join(map(str, shape))} voxels; a volume has at least 2 along each side")
    if math.prod(shape) > MOST_VOXELS:
        raise ValueError(f"has {' × '.join(map(str, shape))} voxels, more than the limit of {MOST_VOXELS:,}")


def chosen_frame(count: int, frame: Frame | None) -> int:
    """The position of the frame that is read of a file with `count` frames or pages.

    Raises:
        ValueError: if there are several and none is chosen, or it has no such frame.
    """
    if frame is None and count > 1:
        raise ValueError(f"has {count} frames; say in data.frame which one is meant: 0 to {count - 1}, or middle")
    at = count // 2 if frame == "middle" else frame or 0
    if at >= count:
        raise ValueError(
            f"has no frame {at}: its {count} frames are counted from 0" if count > 1 else f"has no frame {at}"
        )
    return at
