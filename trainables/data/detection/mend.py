"""Mends drafts: leaves out rows that cannot be used, and drops guesses that contradict themselves. Each mend is a doubt.

What the user typed is never mended: it is refused with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainables.core.config_errors import ConfigError, listed
from trainables.data.detection.draft import PROVISIONAL_DEPTH, Draft
from trainables.data.detection.sample import Sample
from trainables.data.detection.wishes import Wishes
from trainables.data.formats.nifti import is_nifti_name
from trainables.data.sources.source import Source, UnknownDataError
from trainables.data.sources.tables.numeric_labels import number_in
from trainables.recipe.data_settings.label_names import group_name, label_name
from trainables.recipe.source_catalog import source_spec

if TYPE_CHECKING:
    import pandas as pd


def clean(draft: Draft, wishes: Wishes) -> None:
    """Leaves out rows without an image or a label, and settles contradictions.

    Raises:
        UnknownDataError: if fewer than two labels are left.
    """
    if draft.rows is None:
        return
    _keep(draft, draft.rows["path"].notna(), "without their image file")
    if draft.task == "regression":
        _keep(
            draft,
            draft.rows["label"].map(lambda text: text is not None and number_in(str(text)) is not None),
            "without a number",
        )
    else:
        _keep(draft, draft.rows["label"].notna(), "without a label")
    _one_kind(draft)
    if len(found := draft.rows["label"].unique()) < 2:
        what = f"one {'number' if draft.task == 'regression' else 'class'} ({found[0]})" if len(found) else "no image"
        raise UnknownDataError(f"{draft.place}: holds only {what}; at least 2 are needed")
    if _several(draft.rows, "label"):
        draft.reading["on_conflict"] = "drop"  # the source counts them
    for role in ("group", "split"):
        if role in draft.rows and role not in wishes.columns and (differ := _several(draft.rows, role)):
            _drop(draft, wishes, role, f"{_images(len(differ))} have rows that differ ({listed(differ, 3)})")
    if "group" in draft.rows and (missing := draft.rows["group"].isna()).any():
        draft.rows, draft.data = draft.rows.assign(group=draft.rows["group"].fillna(draft.rows["path"])), None
        draft.doubt(f"{_images(int(missing.sum()))} without a group: each is taken as a group of its own")
    if "split" in draft.rows:
        _keep(draft, draft.rows["split"].notna(), "without a part of the split")


def mend(draft: Draft, wishes: Wishes, error: ConfigError) -> None:
    """Drops the guess that an error is about.

    Args:
        draft: data that cannot be opened or split.
        wishes: what the user says is not dropped.
        error: the reason.
    Raises:
        UnknownDataError: with the error, if it is about something else, or about what the user typed.
    """
    message = "; ".join(problem.message for problem in error.problems)
    place = [str(key) for key in error.problems[0].path]
    for role in _roles_at_fault(place):
        if draft.rows is not None and role in draft.rows and role not in wishes.columns:
            _drop(draft, wishes, role, message)
            return
    if place == ["data", "columns", "path"] and draft.rows is not None and draft.data is not None:
        draft.data = None  # its files were found, so they can have a table of their own
        draft.doubt(f"the table is not read as it stands, because {message}")
    elif place == ["data", "depth"] and "depth" not in draft.reading:
        draft.reading["depth"] = PROVISIONAL_DEPTH
    elif place == ["data", "path"] and "validation" not in draft.reading and _splits_itself(draft):
        draft.reading["validation"] = 0.2
        draft.doubt(f"its own split is not used, because {message}")
    else:
        raise UnknownDataError(message)


def _roles_at_fault(place: list[str]) -> list[str]:
    """Roles that may be guessed wrongly if an error is about a place, the likeliest first."""
    return {"group": ["group", "split"], "split": ["split"], "label": ["split"], "validation": ["group"]}.get(
        place[-1], []
    )


def _splits_itself(draft: Draft) -> bool:
    return draft.data is not None and source_spec(draft.data["source"]).splits_itself


def _drop(draft: Draft, wishes: Wishes, role: str, why: str) -> None:
    """Drops a guessed column, with a doubt."""
    draft.drop(role)
    if role not in draft.columns:
        draft.doubt(f"the {role} that the folders name is not used, because {why}")
        return
    again = wishes.command(draft.place, **{role: draft.columns[role]})
    draft.doubt(f"{draft.columns[role]!r} is not used as the {role}, because {why}; to insist: {again}")


def without_single_images(draft: Draft, source: Source) -> bool:
    """Leaves out classes with fewer than two images that can be read, for they cannot be on both sides of the split.

    Returns:
        True if there were any.
    """
    if source.targets is not None or source.judges is not None:
        return False
    counts = np.bincount(source.labels, minlength=len(source.classes))
    few = [name for name, count in zip(source.classes, counts.tolist(), strict=True) if count < 2]
    if not few:
        return False
    if len(source.classes) - len(few) < 2:
        raise UnknownDataError(
            f"{draft.place}: fewer than two classes have two images, one to train with and one to validate with"
        )
    if draft.rows is None:
        draft.reading["labels"] = {name: None if name in few else name for name in source.classes}
    else:
        draft.keep(~draft.rows["label"].map(label_name).isin(few))
    left_out = (
        f"{len(few)} classes with fewer than two images are"
        if len(few) > 1
        else "1 class with fewer than two images is"
    )
    draft.doubt(f"{left_out} left out ({listed(few, 6)}): a class needs one to train with and one to validate with")
    return True


def read_otherwise(draft: Draft, sample: Sample) -> bool:
    """Chooses how images are read from the reasons why some cannot be; returns True if it chose anything."""
    if not sample.bad:
        return False
    reason = next(iter(sample.bad.values()))
    several = [text for text in sample.bad.values() if "data.frame" in text]
    if several and "frame" not in draft.reading:
        draft.reading["frame"] = "middle"
        draft.doubt(f"files have several frames or pages, of which the middle one is read: {several[0]}")
        return True
    if not sample.shapes:
        raise UnknownDataError(f"no image can be read: {reason}")
    if draft.reading.get("on_bad") != "skip":
        draft.reading["on_bad"] = "skip"
        draft.doubt(f"images that cannot be read are left out, such as {reason}")
        return True
    return False


def _keep(draft: Draft, rows: pd.Series[bool], which: str) -> None:
    assert draft.rows is not None
    if rows.all():
        return
    left = draft.rows[~rows]
    examples = listed([f"row {i + 1}" if isinstance(i, int) else str(i) for i in left.index.tolist()], 3)
    draft.keep(rows)
    draft.doubt(
        f"{len(left):,} row{'s' * (len(left) > 1)} {which} {'are' if len(left) > 1 else 'is'} left out: {examples}"
    )


def _one_kind(draft: Draft) -> None:
    """Leaves out the fewer of images and volumes, which no network takes together."""
    assert draft.rows is not None
    volumes = draft.rows["path"].map(is_nifti_name)
    if volumes.any() and not volumes.all():
        kept = volumes if volumes.mean() > 0.5 else ~volumes
        draft.keep(kept)
        draft.doubt(
            f"{int((~kept).sum()):,} files are {'images' if kept is volumes else 'volumes'}, unlike the others, and left out"
        )


def _several(rows: pd.DataFrame, role: str) -> list[str]:
    """Files with more than one value of a role."""
    names = rows[role].dropna().map(label_name if role == "label" else group_name)
    counts = names.groupby(rows["path"]).nunique()
    return [str(file).rpartition("/")[2] for file in counts.index[counts > 1]]


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count > 1)}"
