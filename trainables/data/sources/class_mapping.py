"""Maps a source's labels to classes, as `data.labels` says."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import yaml

from trainables.core.config_errors import ConfigError, Problem, counted, listed
from trainables.core.printable import printable
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.label_names import label_name

_LIKE_MISSING = frozenset({"n/a", "na", "nan", "null", "-", "--", "?", "unknown", "missing"})
_LONGEST_MAPPING = 40
"""Most labels for which a mapping is proposed."""


class Mapped(NamedTuple):
    """Labels after mapping."""

    classes: tuple[str, ...]
    labels: np.ndarray
    """[k] int64, positions in `classes`."""
    kept: np.ndarray
    """[k] int64, ascending: positions of the remaining images among those of the source."""
    notes: tuple[str, ...] = ()
    """Images that the mapping leaves out, counted, or labels that look alike."""


def class_of(label: object, mapping: Mapping[str, str | None] | None) -> str | None:
    """Class of a label, by its canonical name (see `label_name`); None if the mapping drops it or does not mention it.

    Every source and `thaw predict` name classes by it.
    """
    name = label_name(label)
    return name if mapping is None else mapping.get(name)


def mapped(names: Sequence[str], codes: np.ndarray, mapping: Mapping[str, str | None] | None) -> Mapped:
    """Merges labels into classes, and drops images that belong to no class. Without a mapping, each label is a class.

    Args:
        names: the source's labels, in the order of its classes; those that `label_name` names alike are one.
        codes: [n] positions in `names`; each name occurs.
        mapping: label -> class, or None to drop its images.
    Raises:
        ConfigError: at `data.labels`, for labels that it does not mention, and for classes without an image.
    """
    named = [label_name(name) for name in names]
    counts = dict.fromkeys(named, 0)
    for name, count in zip(named, np.bincount(codes, minlength=len(names)).tolist(), strict=True):
        counts[name] += count
    if mapping is None:
        classes, notes = list(counts), _alike(counts) + _like_missing(counts) + _like_several(counts)
    else:
        classes, notes = _classes_of(counts, mapping), _dropped(counts, mapping)
    position = {name: j for j, name in enumerate(classes)}
    targets = [position.get(class_of(name, mapping) or "", -1) for name in named]
    labels = np.array(targets, np.int64)[codes]
    kept = np.flatnonzero(labels >= 0)
    return Mapped(tuple(classes), labels[kept], kept, notes)


def _classes_of(counts: Mapping[str, int], mapping: Mapping[str, str | None]) -> list[str]:
    """Classes of a mapping, checked against the labels that occur."""
    if missing := [(name, n) for name, n in counts.items() if name not in mapping]:
        found = listed([f"{name!r} ({counted(n, 'image')})" for name, n in missing])
        raise _labels_error(f"does not mention {found}; to drop these images, add `{missing[0][0]}: null`")
    classes = sorted_names({target for name in counts if (target := mapping[name]) is not None})
    if unseen := sorted({target for target in mapping.values() if target is not None} - set(classes)):
        raise _labels_error(
            f"no image belongs to {listed([repr(n) for n in unseen])}; labels found: {listed(list(counts))}"
        )
    if not classes:
        raise _labels_error("drops all images")
    if len(classes) < 2:
        raise _labels_error(f"leaves only one class ({classes[0]}); at least 2 are needed")
    return classes


def _dropped(counts: Mapping[str, int], mapping: Mapping[str, str | None]) -> tuple[str, ...]:
    dropped = {name: n for name, n in counts.items() if mapping[name] is None}
    if not dropped:
        return ()
    which = listed([f"{name!r} ({n})" for name, n in dropped.items()])
    return (f"left out (data.labels): {counted(sum(dropped.values()), 'image')}: {which}",)


def _alike(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Doubt about labels that differ only in case, blanks or hyphens, with a mapping that makes them one."""
    spellings: dict[str, list[str]] = {}
    for name in counts:
        spellings.setdefault(re.sub(r"(?<=\w)[\s_-]+", "", name.casefold()) or name, []).append(name)
    alike = [names for names in spellings.values() if len(names) > 1]
    if not alike:
        return ()
    groups = "; ".join(", ".join(f"{name!r} ({counts[name]})" for name in names) for names in alike[:5])
    usual = {name: max(names, key=counts.__getitem__) for names in spellings.values() for name in names}
    mend = "write one class for them in data.labels"
    if len(counts) <= _LONGEST_MAPPING:
        line = yaml.safe_dump(usual, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
        mend = f"if they are, write under data: labels: {line.strip()}"
    return (f"labels that may be the same class: {groups}; {mend}",)


def sorted_names(names: set[str]) -> list[str]:
    """Names sorted by value if all are numbers, otherwise alphabetically."""
    try:
        values = {name: float(name) for name in names}
    except ValueError:
        return sorted(names)
    return sorted(names) if any(map(math.isnan, values.values())) else sorted(names, key=lambda n: (values[n], n))


def _like_missing(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Doubt about labels that may mean that there is none."""
    found = [f"{name!r} ({n})" for name, n in counts.items() if name.casefold() in _LIKE_MISSING]
    return (
        (f"labels that may mean a missing value: {listed(found)}; if so, drop these images in data.labels",)
        if found
        else ()
    )


def _like_several(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Doubt about labels that may be several labels of one image: `rust|scab` beside `rust`, or `['rust']`."""

    def is_several(name: str) -> bool:
        parts = [part.strip() for part in re.split(r"[|;,/+]", name)]
        return name.startswith("[") or (len(parts) > 1 and all(parts) and any(part in counts for part in parts))

    found = [f"{name!r} ({n})" for name, n in counts.items() if is_several(name)]
    if not found:
        return ()
    each = "each combination is a class, unless data.labels merges them"
    return (f"labels that may be several labels of an image: {listed(found, 6)}; {each}",)


def _labels_error(message: str) -> ConfigError:
    return ConfigError([Problem(("data", "labels"), message)])


def check_class_names(config: DataConfig, classes: Sequence[str]) -> None:
    """Checks that class names are one line of Unicode: they are written to files and shown.

    Raises:
        ConfigError: if one is not.
    """
    for name in classes:
        if (text := printable(name)) != name:
            wrong = (
                "is not UTF-8"
                if any("\ud800" <= c <= "\udfff" for c in name)
                else "has a line break or control character"
            )
            message = f"the class '{text}' {wrong}; rename it, or map its label to another name in data.labels"
            raise ConfigError([Problem(("data",) if config.path is None else ("data", "path"), message)])
