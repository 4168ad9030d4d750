"""Decoder of a source's files: all as grey or all in colour, with 8 or 16 bits, or as volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, listed
from trainables.data.formats import nifti
from trainables.data.formats.images import Header, read_headers, read_image
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.image_settings import Frame, Spacing, Window
from trainables.storage.urls import Place


def files_decoder(
    places: Sequence[Place], config: DataConfig
) -> tuple[int, Callable[[int], np.ndarray], np.dtype[Any], Callable[[int], str]]:
    """Chooses how to decode image files, from their headers.

    Args:
        places: the files.
        config: the recipe's section `data`.
    Returns:
        The number of channels, a function position -> image, the type of its values, and a function position -> name.
    Raises:
        ConfigError: at `data.bits`, if it is 16 and the images have fewer; at `data.window`, if images are in colour; at
            `data.depth`, if it is set and the files are images, or it is not set and they are volumes.
    """
    deep = config.bits == 16
    nifti.check_names(places, volumes=config.depth is not None)
    dtype = np.dtype(np.uint16 if deep else np.uint8)
    if config.depth is not None:
        return 1, lambda i: read_file(places[i], config, grey=True), dtype, lambda i: str(places[i])
    headers = list(read_headers(places))
    if deep or config.window:
        _check_grey(places, headers, config)
    grey = all(header.grey for header in headers) if config.channels is None else config.channels == 1
    return 1 if grey else 3, lambda i: read_file(places[i], config, grey=grey), dtype, lambda i: str(places[i])


class Decoding(Protocol):
    """Settings for decoding: `data` of a recipe, or the input of a model that was trained with it."""

    @property
    def bits(self) -> Literal[8, 16]: ...
    @property
    def depth(self) -> int | None: ...
    @property
    def frame(self) -> Frame | None: ...
    @property
    def window(self) -> Window | None: ...
    @property
    def spacing(self) -> Spacing | None: ...


def read_file(place: Place, how: Decoding, *, grey: bool) -> np.ndarray:
    """Decodes a file, in the same way for training and prediction.

    Args:
        place: the file.
        how: settings.
        grey: decode images to one channel.
    Returns:
        [h, w, c], or [d, h, w, 1] for volumes: uint8 or uint16.
    Raises:
        BadImageError: if it cannot be read.
    """
    deep = how.bits == 16
    if how.depth is not None:
        return nifti.read_volume(place, deep=deep, window=how.window, spacing=how.spacing)
    return read_image(place, grey=grey, deep=deep, frame=how.frame, window=how.window)


def _check_grey(places: Sequence[Place], headers: Sequence[Header], config: DataConfig) -> None:
    """Checks that grey images are there for the settings that only they have."""
    coloured = [str(place) for place, header in zip(places, headers, strict=True) if not header.grey]
    found = f"{len(coloured)} of {len(places)} images are in colour, with 8 bits a channel: {listed(coloured, 3)}"
    if coloured and config.window:
        raise ConfigError([Problem(("data", "window"), f"a window shows grey values, and {found}; remove it")])
    if coloured:
        raise bits_error(found)
    if config.bits == 16 and not any(header.deep for header in headers):
        raise bits_error("no image has more than 8 bits")


def bits_error(message: str) -> ConfigError:
    """Error at `data.bits`, which is 16 where it cannot be."""
    return ConfigError([Problem(("data", "bits"), f"16: {message}; remove it")])
