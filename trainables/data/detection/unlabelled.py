"""Images without labels: all that a folder holds, for what needs no labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.dataset import Dataset
from trainables.data.detection.draft import PROVISIONAL_DEPTH
from trainables.data.detection.sample import Sample, sample_of
from trainables.data.formats import nifti
from trainables.data.formats.file_decoder import files_decoder
from trainables.data.sources.image_folder import read_image_folder
from trainables.data.sources.source import Reader, Source, files_key, read_as
from trainables.data.store.build_stores import Progress
from trainables.data.store.decoded_images import open_stores, why_streamed
from trainables.recipe.data_config import DataConfig
from trainables.storage.urls import Place, file_facts


def unlabelled_images(folder: Path) -> list[Place]:
    """Image files below a folder, sorted by path, whatever folders they lie in."""
    return sorted((image.place for image in read_image_folder(folder).images), key=str)


def unlabelled_section(folder: Path, places: list[Place]) -> tuple[dict[str, Any], Sample]:
    """Section `data` of a recipe for the images of a folder, and a sample of them.

    Raises:
        ConfigError: if images and volumes are mixed.
    """
    volumes = nifti.is_nifti_name(places[0])
    section = {"source": "folder", "path": str(folder), **({"depth": PROVISIONAL_DEPTH} if volumes else {})}
    return section, sample_of(_source(places, DataConfig.model_validate(section)))


def open_unlabelled(config: DataConfig, places: list[Place], *, progress: Progress | None = None) -> Dataset:
    """Data set of images that are all training images and have no class.

    Args:
        config: settings for decoding.
        places: the images.
        progress: called as `progress(done, total)` while images are decoded.
    Raises:
        ConfigError: if images cannot be read.
    """
    stores = open_stores(
        _source(places, config),
        [config.image_size],
        depth=config.depth,
        fit=config.fit,
        about=f"unlabelled {config.path}",
        on_bad=config.on_bad,
        progress=progress,
    )
    store = stores[config.image_size]
    every = np.arange(len(store.images))
    return Dataset(
        store.images,
        np.zeros_like(every),
        (),
        every,
        every[:0],
        store.fingerprint,
        details=store.details,
        streamed=why_streamed(stores),
    )


def _source(places: list[Place], config: DataConfig) -> Source:
    key = read_as(files_key("unlabelled", file_facts(places)), config)
    return Source(key, (), np.zeros(len(places), np.int64), lambda: Reader(*files_decoder(places, config)))
