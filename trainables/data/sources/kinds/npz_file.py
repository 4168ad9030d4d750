"""NPZ files in the form of MedMNIST's: arrays of images and labels for each part of the split."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from trainables.core.config_errors import ConfigError, Problem
from trainables.data.formats import npz
from trainables.data.formats.file_decoder import bits_error
from trainables.data.messages import path_error
from trainables.data.sources.class_mapping import mapped
from trainables.data.sources.source import (
    Reader,
    Source,
    check_classes,
    files_key,
    given_validation,
    labels_key,
    read_as,
    select,
    with_sides,
)
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.label_names import label_name
from trainables.storage.urls import Place, file_facts, is_url


def open_npz(config: DataConfig) -> Source:
    """Opens the training images of a file, and its validation images."""
    return _npz(config, test=False)


def open_test_npz(config: DataConfig) -> Source | None:
    """Opens the test images of a file; None if there are none."""
    return _npz(config, test=True) if npz.has_test(_npz_place(config)) else None


def _npz_place(config: DataConfig) -> Place:
    return str(config.path) if is_url(str(config.path)) else Path(str(config.path)).expanduser().resolve()


def _npz(config: DataConfig, *, test: bool) -> Source:
    place = _npz_place(config)
    parts = npz.read_parts(place, dims=3 if config.depth else 2, test=test)
    present, positions = np.unique(np.concatenate([part.labels for part in parts]), return_inverse=True)
    names = tuple(label_name(value) for value in present.tolist())
    check_classes(names)
    found = mapped(names, positions, config.labels)
    if config.bits == 16 and (parts[0].dtype.itemsize, parts[0].channels) != (2, 1):
        raise bits_error(
            f"its images are of {parts[0].channels} × {8 * parts[0].dtype.itemsize} bits, not grey with 16"
        )
    if config.window is not None and parts[0].channels != 1:
        raise ConfigError(
            [Problem(("data", "window"), "the images are in colour, and a window shows grey values; remove it")]
        )

    def reader() -> Reader:
        try:
            decode = npz.decoder(place, parts, deep=config.bits == 16, window=config.window)
        except (ValueError, OSError) as error:
            raise path_error(f"{config.path}: {error}") from None
        return select(
            Reader(parts[0].channels, decode, np.dtype(f"u{config.bits // 8}"), partial(npz.image_name, parts)), found
        )

    key = labels_key(read_as(files_key("npz test" if test else "npz", file_facts([place])), config), found)
    judges = given_validation([len(part.labels) for part in parts], config)
    return with_sides(Source(key, found.classes, found.labels, reader, notes=found.notes), found, judges=judges)
