"""The files of one source: images decoded alike, as grey or in colour, with 8 or 16 bits, or volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, listed
from trainables.data.formats import nifti
from trainables.data.formats.images import Header, read_headers, read_image
from trainables.recipe.data_config import DataConfig, Window
from trainables.storage.urls import Place


def files_decoder(
    places: Sequence[Place], config: DataConfig
) -> tuple[int, Callable[[int], np.ndarray], np.dtype[Any]]:
    """How to decode image files: channels, position -> image, and type. Their headers are read for it.

    Raises:
        ConfigError: at `data.bits`, if 16 bits are asked for and not there; at `data.depth`, if they are images where volumes
            are asked for, or the reverse.
    """
    deep = config.bits == 16
    nifti.check_names(places, volumes=config.depth is not None)
    if config.depth is not None:
        decode_volume = partial(_volume, places, deep, config.window)
        return 1, decode_volume, np.dtype(np.uint16 if deep else np.uint8)
    headers = read_headers(places)
    grey = _all_deep(places, list(headers)) if deep else all(header.grey for header in headers)

    def decode(i: int) -> np.ndarray:
        return read_image(places[i], grey=grey, deep=deep, frame=config.frame, window=config.window)

    return 1 if grey else 3, decode, np.dtype(np.uint16 if deep else np.uint8)


def _volume(places: Sequence[Place], deep: bool, window: Window | None, i: int) -> np.ndarray:
    return nifti.read_volume(places[i], deep=deep, window=window)


def _all_deep(places: Sequence[Place], headers: Sequence[Header]) -> bool:
    if coloured := [str(place) for place, header in zip(places, headers, strict=True) if not header.grey]:
        raise bits_error(f"{len(coloured)} of {len(places)} images are in colour, which has 8: {listed(coloured, 3)}")
    if not any(header.deep for header in headers):
        raise bits_error("no image has more than 8")
    return True


def bits_error(message: str) -> ConfigError:
    return ConfigError([Problem(("data", "bits"), f"16: {message}; remove it")])
