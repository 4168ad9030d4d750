"""Class folders: the image files of each class, on disk or behind a URL; also those of `train`, `val` and `test`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainables.core.config_errors import listed
from trainables.data.formats.file_decoder import files_decoder
from trainables.data.sources.class_mapping import mapped
from trainables.data.sources.image_folder import ImageFolder, read_image_folder
from trainables.data.sources.repeated_files import without_repeats
from trainables.data.sources.source import (
    Reader,
    Source,
    check_classes,
    files_key,
    folder_at,
    labels_key,
    read_as,
    with_sides,
)
from trainables.data.sources.split_names import Part, part_of
from trainables.recipe.data_config import DataConfig
from trainables.storage.urls import file_facts, is_url


def open_class_folders(config: DataConfig) -> Source:
    """Opens the images in the folders of the classes; of a split, those that train and validate."""
    return _opened(config, _read(config), ("train", "val", None))


def open_test_folders(config: DataConfig) -> Source | None:
    """Opens the images of a split's test folders; None if there are none in class folders."""
    found = _read(config)
    has_test = any(image.part == "test" and image.label is not None for image in found.images)
    return _opened(config, found, ("test",)) if has_test else None


def _read(config: DataConfig) -> ImageFolder:
    found = read_image_folder(str(config.path) if is_url(str(config.path)) else folder_at(config))
    if found.without_images:
        count = len(found.classes) + len(found.without_images)
        raise ValueError(
            f"{len(found.without_images)} of {count} classes have no image: {listed(found.without_images)}"
        )
    if not found.classes:
        files = [*(Path(str(image.place)).name for image in found.images), *found.others]
        what = f"{len(files)} files ({listed(files, 3)})" if files else "nothing"
        raise ValueError(f"holds no class folders: expected one folder of images for each class, found {what}")
    if not found.split and all(map(part_of, found.classes)):
        raise ValueError(
            f"holds the parts of a split ({', '.join(found.classes)}), but no class folders in them: expected one folder of images "
            "for each class in each part"
        )
    return found


def _opened(config: DataConfig, found: ImageFolder, parts: Sequence[Part | None]) -> Source:
    images = [image for image in found.images if image.label is not None and image.part in parts]
    names = list(dict.fromkeys(str(image.label) for image in images))
    check_classes(tuple(names))
    position = {name: j for j, name in enumerate(names)}
    left = mapped(names, np.array([position[str(image.label)] for image in images]), config.labels)
    validates = np.array([image.part == "val" for image in images])
    has_own = validates.any() and config.validation is None and not config.folds
    places = [images[i].place for i in left.kept.tolist()]
    facts = file_facts(places)
    left, places = without_repeats(
        left, places, facts, {"part of the split": validates} if has_own else {}, config.on_conflict
    )
    key = labels_key(read_as(files_key("folder", facts), config), left)
    notes = found.notes + found.without_class + left.notes
    source = Source(key, left.classes, left.labels, lambda: Reader(*files_decoder(places, config)), notes=notes)
    return with_sides(source, left, judges=validates if has_own else None)
