"""Folders of images: class folders, a table among them, or classes in the names of files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.core.config_errors import listed
from trainables.data.detection.column_words import words_of
from trainables.data.detection.draft import Draft
from trainables.data.detection.kinds.lists import joined_parts, lists_in
from trainables.data.detection.kinds.tables import ImageFolders, draft_of, read_table
from trainables.data.detection.name_columns import add_groups, label_in
from trainables.data.detection.wishes import Wishes
from trainables.data.sources.image_folder import ImageFile, ImageFolder, read_image_folder
from trainables.data.sources.source import UnknownDataError
from trainables.data.sources.split_names import part_of
from trainables.data.sources.tables.table_file import is_table_name

if TYPE_CHECKING:
    import pandas as pd

_DRAWN = frozenset({
    "mask", "masks", "trimap", "trimaps", "annotation", "annotations", "segmentation", "segmentations", "gt", "groundtruth",
})  # fmt: skip
"""Words of folders that hold what somebody drew on the images, not images of a class."""
_MOST_FOLDERS = 50
"""Folders in a folder in which tables are searched for."""
_PLAIN = frozenset({
    "image", "images", "img", "imgs", "jpg", "jpeg", "jpegimages", "png", "photo", "photos", "picture", "pictures", "part", "data",
})  # fmt: skip
"""Words of folders that say nothing of their images."""


def detect_folder(path: Path, wishes: Wishes) -> Draft | None:
    """Detects the images in a folder: what a table or list in it says of them, else their class folders, else their names.

    Raises:
        UnknownDataError: if nothing in it names a label for its images.
    """
    if not path.is_dir():
        return None
    found = read_image_folder(path)
    classes = _of_class_folders(path, found)
    table, reasons = _best_table(path, wishes, deep=classes is None)
    if classes is None and table is None:
        classes = _of_names(path, found)
    if table is not None and (classes is None or wishes.columns or _adds_to(table, classes)):
        if classes is not None:
            table.doubt(f"the labels are those of {table.place}, not the folders ({listed(sorted(classes.labels), 3)})")
        return table
    if classes is None:
        if reasons:
            raise UnknownDataError("\n".join(reasons))
        _refuse(path, found)
        return None
    if table is not None:
        classes.doubt(f"{table.place} says no more than the folders, and is not used")
    for reason in reasons:
        classes.doubt(f"not used: {reason}")
    if typed := [name for name in wishes.typed if name != "group"]:
        raise UnknownDataError(f"--{typed[0]}: applies to tables, but {path} holds {classes.what}")
    add_groups(classes, wishes)
    if "group" not in classes.columns and found.nested:
        classes.doubt(
            f"sub-folders of {listed(found.nested, 3)} are not classes: their images belong to the class above"
        )
    return classes


def _tables_in(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if is_table_name(entry) and not entry.name.startswith("."))


def _best_table(path: Path, wishes: Wishes, *, deep: bool) -> tuple[Draft | None, list[str]]:
    """Table or list that has labels for the most images, and why others cannot be used.

    Args:
        path: the folder.
        wishes: what the user says.
        deep: if the folder holds no table, those in the folders in it are considered.
    """
    below = sorted(entry for entry in path.iterdir() if entry.is_dir())[:_MOST_FOLDERS] if deep else []
    tables: dict[Path, pd.DataFrame] = {}
    unreadable: dict[Path, list[str] | None] = {path: None}
    drafts, reasons, folders = [], [], ImageFolders(path, wishes.images)
    for file in _tables_in(path) or [table for folder in below for table in _tables_in(folder)]:
        try:
            tables[file], unreadable[file] = read_table(file)
        except UnknownDataError as error:
            reasons.append(str(error))
    parted = joined_parts(tables)
    for file, table in {path: parted}.items() if parted is not None else tables.items():
        try:
            drafts.append(draft_of(table, file, wishes, folders, unreadable[file]))
        except UnknownDataError as error:
            reasons.append(str(error))
    if not drafts:
        drafts, more = lists_in(path, wishes, folders, deep=deep)
        reasons += more
    if not drafts:
        return None, reasons
    best = max(drafts, key=lambda draft: draft.rows["path"].notna().sum() if draft.rows is not None else 0)
    if best.place != path and (unused := [str(table) for table in tables if table != best.place]):
        best.doubt(f"the labels are those of {best.place}; not used: {listed(unused, 3)}")
    return best, reasons


def _adds_to(table: Draft, classes: Draft) -> bool:
    """Returns True if a table says something else of the images in class folders than these, or groups or a split besides."""
    assert table.rows is not None
    assert classes.rows is not None
    folder_of = dict(zip(classes.rows["path"], classes.rows["label"], strict=True))
    files = zip(table.rows["path"], table.rows["label"], strict=True)
    known = [(folder_of.get(file), label) for file, label in files if file]
    if len(known) < len(folder_of) / 2:
        return False
    differ = sum(folder != label for folder, label in known)
    return differ > len(known) / 20 or bool({"group", "split"} & set(table.rows) - set(classes.rows))


# --- class folders ----------------------------------------------------------------------------------------------------


def _of_class_folders(path: Path, found: ImageFolder) -> Draft | None:
    """Draft of class folders; None if there are fewer than two, or they are no classes."""
    images = [image for image in found.images if image.label is not None]
    names = list(dict.fromkeys(str(image.label) for image in images))
    if len(names) < 2 or _are_drawn(names) or all(_is_plain(name) or part_of(name) for name in names):
        return None
    parts = sorted(set(found.split.values()), key=("train", "val", "test").index)
    what = f"{len(names)} class folders" + (f" in {', '.join(parts)}" if parts else "")
    draft = Draft(
        what=what,
        place=path,
        rows=_rows(images),
        data={"source": "folder", "path": str(path)},
        doubts=list(found.notes),
    )
    trained = {image.label for image in images if image.part in {"train", None}}
    if stray := [name for name in names if _is_plain(name) and name not in trained]:
        assert draft.rows is not None
        draft.keep(~draft.rows["label"].isin(stray))
        draft.doubt(f"images in {listed(stray, 3)} of a part of the split have no class, and are left out")
    if found.without_images:
        draft.data = None
        draft.doubt(f"folders without an image are no classes: {listed(found.without_images, 6)}")
    return draft


def _are_drawn(names: Sequence[str]) -> bool:
    """Returns True if one of some folders holds what was drawn on the images of another: masks, or `labelsTr` beside `imagesTr`."""
    words = {word for name in names for word in words_of(name)}
    return bool(_DRAWN & words) or ({"labels", "label"} & words and {"images", "image", "img"} & words) != set()


def _is_plain(name: str) -> bool:
    return (
        all(word in _PLAIN or word.isdecimal() for word in re.findall(r"[a-z]+|\d+", name.casefold()))
        and not name.isdecimal()
    )


def _rows(images: Sequence[ImageFile]) -> pd.DataFrame:
    import pandas as pd

    rows = pd.DataFrame(
        {"path": [str(Path(image.place).absolute()) for image in images], "label": [image.label for image in images]}
    )
    if any(image.part for image in images):
        rows["split"] = [image.part for image in images]
    return rows


def _of_names(path: Path, found: ImageFolder) -> Draft | None:
    """Draft of images whose names begin with their class, such as `Abyssinian_12.jpg`; None if they do not."""
    images = [
        image
        for image in found.images
        if not _DRAWN & {word for part in Path(image.place).relative_to(path).parts[:-1] for word in words_of(part)}
    ]
    found_labels = [label_in(Path(image.place).name) for image in images]
    labels = [label for label in found_labels if label]
    distinct = set(labels)
    if len(labels) < len(images) or not 2 <= len(distinct) <= len(labels) / 2:
        return None
    rows = _rows(images).assign(label=labels)
    draft = Draft(
        what=f"images of {len(distinct)} kinds of names", place=path, rows=rows.drop(columns="split", errors="ignore")
    )
    draft.doubt(f"the classes are the beginnings of the file names: {labels[0]!r} of {Path(images[0].place).name!r}")
    return draft


def _refuse(path: Path, found: ImageFolder) -> None:
    """Raises UnknownDataError for images without labels, if there are images."""
    names = list(dict.fromkeys(image.label for image in found.images if image.label is not None))
    if _are_drawn(names):
        raise UnknownDataError(
            f"{path}: holds images and what was drawn on them ({listed(names, 4)}), but no label of a whole image; write a "
            "table with the columns path and label, or cut the objects out into class folders, and pass that to thaw init"
        )
    if len(names) == 1 and not _is_plain(names[0]):
        raise UnknownDataError(f"{path}: holds only one class ({names[0]}); at least 2 are needed")
    if found.images:
        files = [Path(image.place).name for image in found.images]
        raise UnknownDataError(
            f"{path}: holds {len(files):,} images ({listed(files, 3)}), but nothing says what they are; put those of each class "
            "into a folder of its own, or write a table with the columns path and label, and pass it to thaw init"
        )
