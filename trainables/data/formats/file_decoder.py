"""Decoder of a source's files: all as grey or all in colour, with 8 or 16 bits, or as volumes."""

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
    """Chooses how to decode image files, from their headers.

    Args:
        places: the files.
        config: the recipe's section `data`.
    Returns:
        The number of channels, a function position -> image, and the type of its values.
    Raises:
        ConfigError: at `data.bits`, if it is 16 and the images have fewer; at `data.depth`, if it is set and the files are images,
            or it is not set and they are volumes.
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
        raise bits_error(
            f"{len(coloured)} of {len(places)} images are in colour, with 8 bits a channel: {listed(coloured, 3)}"
        )
    if not any(header.deep for header in headers):
        raise bits_error("no image has more than 8 bits")
    return True


def bits_error(message: str) -> ConfigError:
    """Error at `data.bits`, which is 16 where it cannot be."""
    return ConfigError([Problem(("data", "bits"), f"16: {message}; remove it")])
