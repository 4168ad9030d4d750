"""Opens the source that a data config names. `SOURCES` in `recipe/source_catalog.py` declares the kinds; `kinds/` reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pkgutil import resolve_name

from trainables.core.config_errors import ConfigError, listed
from trainables.data.messages import path_error
from trainables.data.sources.source import Source, with_channels
from trainables.recipe.data_config import DataConfig
from trainables.recipe.source_catalog import source_names, source_spec
from trainables.storage.urls import is_url


def open_source(config: DataConfig) -> Source:
    """Opens the source that a config names, without its test images: reads its labels, but does not decode images yet.

    Raises:
        ConfigError: if the source does not exist, cannot be used, or has fewer than two classes.
    """
    with _as_path_error(config):
        if config.path and is_url(config.path) and not source_spec(config.source).urls:
            some = ", ".join(source_names(lambda spec: spec.urls))
            raise ValueError(f"source {config.source!r} is read from disk; only {some} can be behind a URL")
        source: Source = resolve_name(source_spec(config.source).open)(config)
    return with_channels(source, config)


def open_test_source(config: DataConfig) -> Source | None:
    """Opens the test images that a source marks itself; None if there are none.

    Raises:
        ConfigError: if they cannot be used.
    """
    if (opening := source_spec(config.source).open_test) is None:
        return None
    with _as_path_error(config):
        source: Source | None = resolve_name(opening)(config)
    return None if source is None else with_channels(source, config)


def doubt_about_test(config: DataConfig, classes: Sequence[str]) -> str | None:
    """Reason why `thaw confirm` cannot use the test images that a source marks; None if it can, or there are none.

    Args:
        config: the recipe's section `data`.
        classes: classes of the other images.
    """
    try:
        test = open_test_source(config)
    except ConfigError as error:
        why = "; ".join(problem.message for problem in error.problems)
    else:
        if test is None or test.classes == tuple(classes):
            return None
        why = f"they or the others have no image of {listed(sorted({*classes} ^ {*test.classes}), 6)}"
    return f"thaw confirm cannot use the test images: {why}"


@contextlib.contextmanager
def _as_path_error(config: DataConfig) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, OSError) as error:
        raise path_error(f"{config.path}: {error}") from None
