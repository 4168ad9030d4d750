"""Maps a source's labels to classes, as `data.labels` says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, listed
from trainables.recipe.data_config import label_name


class Mapped(NamedTuple):
    """Labels after mapping."""

    classes: tuple[str, ...]
    labels: np.ndarray
    """[k] int64, positions in `classes`."""
    kept: np.ndarray
    """[k] int64, ascending: positions of the remaining images among those of the source."""


def mapped(names: Sequence[str], codes: np.ndarray, mapping: Mapping[str, str | None] | None) -> Mapped:
    """Merges labels into classes, and drops images that belong to no class. Without a mapping, each label is a class.

    Args:
        names: the source's labels, in the order of its classes.
        codes: [n] positions in `names`; each name occurs.
        mapping: label -> class, or None to drop its images.
    Raises:
        ConfigError: at `data.labels`, for labels that it does not mention, and for classes without an image.
    """
    if mapping is None:
        return Mapped(tuple(names), codes.astype(np.int64), np.arange(len(codes)))
    counts = np.bincount(codes, minlength=len(names))
    named = [label_name(name) for name in names]
    if missing := [(name, int(n)) for name, n in zip(named, counts, strict=True) if name not in mapping]:
        found = listed([f"{name!r} ({n} image{'s' * (n > 1)})" for name, n in missing])
        raise _labels_error(f"does not mention {found}; to drop these images, add `{missing[0][0]}: null`")
    targets = [mapping[name] for name in named]
    classes = sorted_names({target for target in targets if target is not None})
    if unseen := sorted({target for target in mapping.values() if target is not None} - set(classes)):
        raise _labels_error(f"no image belongs to {listed([repr(n) for n in unseen])}; labels found: {listed(named)}")
    if not classes:
        raise _labels_error("drops all images")
    if len(classes) < 2:
        raise _labels_error(f"leaves only one class ({classes[0]}); at least 2 are needed")
    position = {name: j for j, name in enumerate(classes)}
    labels = np.array([-1 if target is None else position[target] for target in targets], np.int64)[codes]
    kept = np.flatnonzero(labels >= 0)
    return Mapped(tuple(classes), labels[kept], kept)


def sorted_names(names: set[str]) -> list[str]:
    """Names sorted by value if all are numbers, otherwise alphabetically."""
    try:
        values = {name: float(name) for name in names}
    except ValueError:
        return sorted(names)
    return sorted(names) if any(map(math.isnan, values.values())) else sorted(names, key=lambda n: (values[n], n))


def _labels_error(message: str) -> ConfigError:
    return ConfigError([Problem(("data", "labels"), message)])
