"""Decoded images of a data config, and whether they are outdated."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from trainables.core.config_errors import ConfigError
from trainables.data.sources.open_source import open_source, open_test_source
from trainables.data.sources.source import Source
from trainables.data.store.build_stores import Progress
from trainables.data.store.decoded_images import Store, open_stores
from trainables.recipe.data_config import DataConfig
from trainables.storage.urls import absolute


def stores_of(
    config: DataConfig,
    source: Source,
    image_sizes: Collection[int],
    *,
    test: bool = False,
    progress: Progress | None = None,
) -> dict[int, Store]:
    """Opens the images of a config's source at some sizes; see `open_stores`.

    Args:
        config: the recipe's section `data`.
        source: its source.
        image_sizes: sides in pixels.
        test: True for the source of the images that are kept for a test.
        progress: called as `progress(done, total)` while images are decoded.
    """
    return open_stores(
        source,
        image_sizes,
        depth=config.depth,
        fit=config.fit,
        box=config.box,
        about=f"{_described(config)}{', test' if test else ''}",
        origin=_origin(config, test=test),
        on_bad=config.on_bad,
        progress=progress,
    )


def _described(config: DataConfig) -> str:
    """Source in words: `folder /data/photos`."""
    return config.source if config.path is None else f"{config.source} {absolute(config.path)}"


def _origin(config: DataConfig, *, test: bool = False) -> dict[str, Any]:
    """Facts from which `is_outdated` finds a store's source again."""
    places = {key: absolute(place) for key in ("path", "images") if (place := getattr(config, key)) is not None}
    return {"data": {**config.model_dump(mode="json"), **places}, "test": test}


def is_outdated(key: str, origin: Mapping[str, Any]) -> bool:
    """Returns True if the files that images were decoded from have changed or are gone since.

    Args:
        key: key of their source at that time.
        origin: see `_origin`.
    """
    try:
        config = DataConfig.model_validate(origin["data"])
        source = open_test_source(config) if origin["test"] else open_source(config)
    except (ConfigError, ValidationError):
        return True
    return source is None or source.key != key
