"""torchvision's data sets that are on disk."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from trainables.data.formats import torchvision_sets
from trainables.data.formats.file_decoder import files_decoder
from trainables.data.sources.class_mapping import mapped
from trainables.data.sources.source import (
    Reader,
    Source,
    check_classes,
    files_key,
    folder_at,
    given_validation,
    labels_key,
    select,
    with_sides,
)
from trainables.recipe.data_config import DataConfig
from trainables.storage.urls import Place, file_facts


def open_torchvision_set(config: DataConfig) -> Source:
    """Opens the training images of a data set, and its validation images if it has any."""
    held = torchvision_sets.load(str(config.name), folder_at(config))
    present, positions = np.unique(np.concatenate([part.labels for part in held.parts]), return_inverse=True)
    names = tuple(held.names[label] if held.names else str(label) for label in present.tolist())
    check_classes(names)
    found = mapped(names, positions, config.labels)
    files: list[Place] = [file for part in held.parts for file in part.files]
    files = [files[i] for i in found.kept.tolist()] if files else []

    def reader() -> Reader:
        if files:
            return Reader(*files_decoder(files, config))
        decode = torchvision_sets.decoder(held)
        return select(Reader(decode(0).shape[2], decode), found)

    kind = f"torchvision {version('torchvision')} {config.name}"
    key = labels_key(files_key(kind, file_facts(files or held.files)), found)
    judges = given_validation([len(part.labels) for part in held.parts], config)
    return with_sides(Source(key, found.classes, found.labels, reader, notes=found.notes), found, judges=judges)
