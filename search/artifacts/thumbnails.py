"""Thumbnails of a run's images for its report, decoded by the readers of its data source."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image
from pydantic import ValidationError

from results_analysis.report.page import Thumbnail
from trainables.core.config_errors import ConfigError
from trainables.data.formats.file_decoder import read_file
from trainables.data.formats.images import BadImageError
from trainables.data.formats.windowing import scaled
from trainables.data.sources.open_source import open_source
from trainables.recipe.data_config import DataConfig
from trainables.recipe.source_catalog import sources_with

_SIDE = 192
"""Longer side of a thumbnail, in pixels."""
_TINY = 96
"""Longer side of an image up to which its pixels are shown as squares."""


def thumbnails(data: object, images: Sequence[str | int]) -> Mapping[str | int, Thumbnail]:
    """Thumbnails of some images; for an image that is gone or cannot be read, the reason.

    Args:
        data: section `data` of the run's recipe.
        images: names of the images as `val_predictions.parquet` has them.
    """
    try:
        decode = _decoder(DataConfig.model_validate(data))
    except (ConfigError, ValidationError, OSError, ValueError) as error:
        reason = f"the data cannot be opened: {str(error).partition(chr(10))[0]}"
        return {image: Thumbnail(None, reason) for image in images}
    return {image: _thumbnail(decode, image) for image in images}


Decode = Callable[[str | int], np.ndarray]


def _decoder(config: DataConfig) -> Decode:
    """Function that decodes an image by its name: a file's path, or a place in the source's arrays."""
    if config.source in sources_with("on_bad"):  # of files: the others need not be listed again
        return lambda image: read_file(str(image), config, grey=False)
    source = open_source(config)
    reader = source.open()
    numbers = {reader.name(i): i for i in range(len(source.labels))}

    def decode(image: str | int) -> np.ndarray:
        number = image if isinstance(image, int) else numbers.get(image)
        if number is None or not 0 <= number < len(numbers):
            raise BadImageError(f"{image}: no longer in the data")
        return reader.decode(number)

    return decode


def _thumbnail(decode: Decode, image: str | int) -> Thumbnail:
    try:
        pixels = decode(image)
    except BadImageError as error:
        return Thumbnail(None, str(error).removeprefix(f"{image}: "))
    flat = pixels if pixels.ndim == 3 else pixels[len(pixels) // 2]  # of a volume the middle slice
    levels = scaled(flat, np.iinfo(flat.dtype).max, deep=False)
    return Thumbnail(_address(Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)))


def _address(picture: Image.Image) -> str:
    longer = max(picture.size)
    size = [max(1, round(side * _SIDE / longer)) for side in picture.size]
    how = Image.Resampling.NEAREST if longer <= _TINY else Image.Resampling.LANCZOS
    content = io.BytesIO()
    picture.resize((size[0], size[1]), how).save(content, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
