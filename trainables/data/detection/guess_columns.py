"""Guesses the roles of a table's columns from their names and contents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trainables.core.config_errors import listed, nearest
from trainables.core.vocabulary import Task
from trainables.data.detection.column_words import FACTS, GROUPS, LABELS, QUANTITIES, by_rank, words_of
from trainables.data.detection.wishes import Wishes
from trainables.data.sources.source import UnknownDataError
from trainables.data.sources.split_names import part_of
from trainables.data.sources.tables.numeric_labels import number_in

if TYPE_CHECKING:
    import pandas as pd

_MOST_CLASSES = 1000
"""Different whole numbers up to which they may be names of classes."""
_FEW_VALUES = 3
"""Different values up to which a label may be one of several findings, each in a column of its own."""
_FEW_NUMBERS = 20
"""Different numbers up to which they are rather grades than quantities."""
_SPLIT_WORDS = frozenset({"split", "fold", "subset", "partition", "valid", "validation", "train", "training", "test"})
"""Words of columns that may give a split."""
_MOST_PARTS = 20
_IDENTIFIER = re.compile(r"(?=.*\d)[A-Za-z]+[-_. ]?\w*|[\w-]{12,}")
"""Text that looks like the name of a thing: `P0012`, or a long code."""


class Roles(NamedTuple):
    """Roles of columns; None: no column has it."""

    label: str | None
    group: str | None
    split: str | None
    task: Task
    doubts: tuple[str, ...]
    """Doubtful points for a person to check, one a line."""


def guess_roles(table: pd.DataFrame, path: str, others: Sequence[str], wishes: Wishes, data: Path) -> Roles:
    """Guesses the label, the group and the split of a table's images.

    Args:
        table: all values as texts; missing values are None.
        path: the column of image files.
        others: columns that also hold image files.
        wishes: what the user names is taken.
        data: path of the data, for the commands in doubts.
    Raises:
        UnknownDataError: if no column holds labels, or one that the user names does not fit.
    """
    check_names(wishes, list(table.columns))
    free = [name for name in table.columns if name not in {path, *others, *wishes.columns.values()}]
    split = wishes.split or next((name for name in free if _is_split(table[name])), None)
    if wishes.split:
        _check_split(table, wishes.split)
    free = [name for name in free if name != split]
    label, task, doubts = _label(table, free, wishes, data)
    if split is None:
        doubts += [_split_doubt(table, name) for name in free if name != label and _may_be_split(table, name)]
    free = [name for name in free if name != label]
    group = wishes.group
    if group is None:
        group, more = _group(table, free, path, label, task, wishes, data)
        doubts += more
    return Roles(label, group, split, task, tuple(doubts))


def check_names(wishes: Wishes, names: Sequence[str]) -> None:
    """Raises UnknownDataError if the user names a column that does not exist, with those that do."""
    for role, name in wishes.columns.items():
        if name not in names:
            close = nearest(name, list(names))
            hint = f"; {close}" if close.startswith("did") else ""
            raise UnknownDataError(
                f"--{role} {name}: there is no such column{hint} (columns: {quoted(names) or 'none'})"
            )


def quoted(names: Sequence[str], limit: int = 20) -> str:
    """Names in quotes, for messages."""
    return listed([repr(name) for name in names], limit)


# --- split ------------------------------------------------------------------------------------------------------------


def _is_split(column: pd.Series) -> bool:
    parts = [part_of(text) for text in column.dropna().unique()[:20]]
    return None not in parts and "train" in parts and len(set(parts)) > 1


def _may_be_split(table: pd.DataFrame, name: str) -> bool:
    words = words_of(name)
    return bool(_SPLIT_WORDS.intersection(words)) and 2 <= table[name].nunique() <= _MOST_PARTS


def _split_doubt(table: pd.DataFrame, name: str) -> str:
    found = quoted(sorted(table[name].dropna().unique()), 6)
    return f"{name!r} may give a split, but holds {found}; to use it, write train, val or test there"


def _check_split(table: pd.DataFrame, name: str) -> None:
    if not _is_split(table[name]):
        found = quoted(sorted(table[name].dropna().unique()), 6)
        raise UnknownDataError(
            f"--split {name}: holds {found or 'nothing'}; the values of a split are train, val and test"
        )


# --- label ------------------------------------------------------------------------------------------------------------


def _label(table: pd.DataFrame, free: Sequence[str], wishes: Wishes, data: Path) -> tuple[str, Task, list[str]]:
    if wishes.label:
        return wishes.label, *_task(table, wishes.label, wishes, data)
    few = [name for name in free if 2 <= table[name].nunique() <= max(2, table[name].count() // 2)]
    numeric = [
        name for name in free if name not in few and _numbers(table[name]) is not None and table[name].nunique() > 1
    ]
    hinted = by_rank([*few, *numeric], LABELS)
    if wishes.task == "regression":
        candidates = [name for name in [*hinted, *numeric, *few] if _numbers(table[name]) is not None]
        likely = [name for name in candidates if name in hinted or QUANTITIES & set(words_of(name))] or candidates
    else:
        usual = sorted((name for name in few if not _is_fact(name)), key=lambda name: table[name].nunique())
        facts = sorted((name for name in few if _is_fact(name)), key=lambda name: table[name].nunique())
        measured = [name for name in numeric if QUANTITIES & set(words_of(name))]
        groups = [name for name in usual if by_rank([name], GROUPS)]
        likely = (
            [name for name in hinted if not _is_fact(name)]
            or [n for n in usual if n not in groups]
            or measured
            or numeric
            or facts
        )
    if not likely:
        raise UnknownDataError(
            f"{data}: no column holds labels: expected one with a few values that repeat, or numbers; found "
            f"{quoted(free) or 'no other column'}. Name it with --label"
        )
    label = next((name for name in likely[1:] if _names_for_numbers(table, likely[0], name)), likely[0])
    rivals = [name for name in likely if name != label and not _one_to_one(table, label, name)]
    if not rivals:  # of a label of yes and no, others of the same values
        values = set(table[label].dropna())
        rivals = [
            name for name in few if name != label and len(values) <= _FEW_VALUES and values & set(table[name].dropna())
        ]
        rivals = [name for name in rivals if not _is_fact(name)]
    doubts = []
    if rivals:
        again = wishes.command(data, label=rivals[0])
        doubts.append(f"the label is {label!r}; it might also be {quoted(rivals, 6)}: {again}")
    elif _is_fact(label):
        doubts.append(f"the label is {label!r}, for want of another column with a few values; name it with --label")
    task, more = _task(table, label, wishes, data)
    return label, task, [*doubts, *more]


def _is_fact(name: str) -> bool:
    return bool(FACTS & set(words_of(name)))


def _numbers(column: pd.Series) -> np.ndarray | None:
    """Different numbers of a column; None if it holds other texts."""
    numbers = [number_in(text) for text in column.dropna().unique()]
    return None if not numbers or None in numbers else np.array(numbers, np.float64)


def _task(table: pd.DataFrame, label: str, wishes: Wishes, data: Path) -> tuple[Task, list[str]]:
    """Task of a label, with a doubt if numbers may be names or quantities."""
    numbers = _numbers(table[label])
    if wishes.task == "regression" and numbers is None:
        text = next(text for text in table[label].dropna() if number_in(text) is None)
        raise UnknownDataError(f"--task regression: the column {label!r} holds {text!r}, which is not a number")
    if wishes.task is not None or numbers is None or len(numbers) <= 2:
        return wishes.task or "classification", []
    rows, whole = int(table[label].count()), bool((numbers == np.floor(numbers)).all())
    repeats = rows / len(numbers)
    quantity = bool(QUANTITIES & set(words_of(label)))
    many = len(numbers) > _FEW_NUMBERS and (repeats < 5 or len(numbers) > _MOST_CLASSES)
    some = len(numbers) > _FEW_NUMBERS // 2 and (not whole or quantity)
    if many or some or repeats < 2:
        again = wishes.command(data, label=label, task="classification")
        return "regression", [
            f"{label!r} holds {len(numbers):,} different numbers, to be predicted as such; if they name classes: {again}"
        ]
    if len(numbers) > _FEW_NUMBERS or not whole or quantity:
        again = wishes.command(data, label=label, task="regression")
        return "classification", [
            f"each of the {len(numbers):,} different numbers of {label!r} is a class; if they are quantities: {again}"
        ]
    return "classification", []


def _names_for_numbers(table: pd.DataFrame, number: str, name: str) -> bool:
    """Returns True if a column holds names of the classes that another one numbers."""
    return _numbers(table[number]) is not None and _numbers(table[name]) is None and _one_to_one(table, number, name)


def _one_to_one(table: pd.DataFrame, one: str, other: str) -> bool:
    pairs = table[[one, other]].dropna().drop_duplicates()
    return len(pairs) == pairs[one].nunique() == pairs[other].nunique()


# --- group ------------------------------------------------------------------------------------------------------------


def _group(
    table: pd.DataFrame, free: Sequence[str], path: str, label: str, task: Task, wishes: Wishes, data: Path
) -> tuple[str | None, list[str]]:
    """Column of patients or the like, and doubts about further ones."""
    images = table[path].nunique()
    least = 2 if task == "regression" else table[label].nunique()
    hinted = [name for name in by_rank(free, GROUPS) if not _is_fact(name)]
    repeating = [name for name in hinted if 1 < table[name].nunique() < images]
    fit = [name for name in repeating if table[name].nunique() > least and not _one_to_one(table, label, name)]
    chosen = fit[0] if fit else None
    doubts = []
    rivals = [name for name in repeating if name != chosen and not (chosen and _is_within(table, name, chosen))]
    if not chosen and not rivals:
        rivals = [name for name in free if name not in hinted and _looks_like_groups(table[name], images, least)]
    rivals = [name for name in rivals if not _one_to_one(table, label, name)]
    if rivals:
        again = wishes.command(data, group=rivals[0])
        which = f"images with the same {quoted(rivals, 6)} may be on both sides of the split"
        doubts.append(f"{which}; if they belong together: {again}")
    return chosen, doubts


def _is_within(table: pd.DataFrame, inner: str, outer: str) -> bool:
    """Returns True if each value of a column occurs with one value of another, as the lesions of a patient do."""
    return bool((table.groupby(inner)[outer].nunique() <= 1).all())


def _looks_like_groups(column: pd.Series, images: int, least: int) -> bool:
    """Returns True if a column of any name holds identifiers that repeat."""
    if not max(4, least) < column.nunique() <= images / 1.3 or _is_fact(str(column.name)):
        return False
    texts = column.dropna().unique()[:50]
    return all(_IDENTIFIER.fullmatch(text) for text in texts) or bool(
        {"id", "uid", "code", "nr"} & set(words_of(str(column.name)))
    )
