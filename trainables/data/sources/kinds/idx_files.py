"""IDX files of the MNIST family."""

from __future__ import annotations

import numpy as np

from trainables.data.formats import idx
from trainables.data.messages import path_error
from trainables.data.sources.class_mapping import mapped
from trainables.data.sources.source import (
    Reader,
    Source,
    check_classes,
    files_key,
    folder_at,
    select,
    with_labels,
)
from trainables.recipe.data_config import DataConfig
from trainables.storage.urls import file_facts


def open_idx_files(config: DataConfig) -> Source:
    """Opens the training images and labels in a folder."""
    folder, mapping = folder_at(config), config.labels
    images = idx.find(folder, "train-images-idx3-ubyte")
    labels = idx.find(folder, "train-labels-idx1-ubyte")
    count, values = idx.image_count(images), idx.read_labels(labels)
    if count != len(values):
        raise ValueError(f"{images.name} holds {count} images, but {labels.name} {len(values)} labels")
    # Labels need not start at 0: those of EMNIST letters are 1 to 26.
    present, positions = np.unique(values, return_inverse=True)
    names = tuple(str(value) for value in present)
    check_classes(names)
    found = mapped(names, positions, mapping)

    def reader() -> Reader:
        try:
            return select(Reader(1, idx.read_images(images)[:, :, :, None].__getitem__), found)
        except ValueError as error:
            raise path_error(f"{folder}: {error}") from None

    key = with_labels(files_key("idx", file_facts([images, labels])), found, mapping)
    return Source(key, found.classes, found.labels, reader, notes=found.notes)
