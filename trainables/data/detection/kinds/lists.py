"""Labels as lists: text and JSON files as CUB-200, Food-101, ImageNet, COCO and others publish them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from trainables.core.config_errors import listed as named
from trainables.data.detection.draft import Draft
from trainables.data.detection.kinds.tables import ImageFolders, detect_table, draft_of
from trainables.data.detection.wishes import Wishes
from trainables.data.sources.source import UnknownDataError
from trainables.data.sources.split_names import part_of

if TYPE_CHECKING:
    import pandas as pd

_LISTS = (".txt", ".lst", ".json", ".jsonl")
_MOST_FOLDERS, _MOST_LISTS = 50, 20
"""Folders in a folder in which lists are searched for, and lists in one above which none of them is read."""
_LARGEST = 1 << 30
"""Bytes of the largest list that is read."""


def detect_table_or_list(path: Path, wishes: Wishes) -> Draft | None:
    """Detects a table, or a list of images with their labels.

    Raises:
        UnknownDataError: if it is damaged, its images are not found, or it has no label for each image.
    """
    if not path.is_file() or path.suffix.lower() not in _LISTS or path.stat().st_size > _LARGEST:
        return detect_table(path, wishes)
    table = _frame(path)
    return None if table is None else draft_of(table, path, wishes, ImageFolders(path.parent, wishes.images), None)


def lists_in(folder: Path, wishes: Wishes, folders: ImageFolders, *, deep: bool) -> tuple[list[Draft], list[str]]:
    """Drafts of the lists in a folder (CUB's tables, one list for each part of a split, or each list), and why others are none.

    Args:
        folder: the data.
        wishes: what the user says.
        folders: where the images may be.
        deep: also those in the folders in it.
    """
    found: dict[Path, pd.DataFrame] = {}
    drafts: list[Draft] = []
    reasons: list[str] = []
    if (folder / "images.txt").is_file() and (folder / "image_class_labels.txt").is_file():
        found[folder] = _cub(folder)
    else:
        for file in _files(folder, deep=deep):
            try:
                table = _frame(file)
            except UnknownDataError as error:
                reasons.append(str(error))
            else:
                found |= {} if table is None else {file: table}
        parted = joined_parts(found)
        found = found if parted is None else {folder: parted}
    for place, table in found.items():
        with contextlib.suppress(UnknownDataError):
            drafts.append(draft_of(table, place, wishes, folders, None))
    return drafts, reasons


def joined_parts(tables: Mapping[Path, pd.DataFrame]) -> pd.DataFrame | None:
    """Tables that are the parts of a split by their names, as one with a column for it; None if there are no such."""
    import pandas as pd

    parts: dict[str, pd.DataFrame] = {}
    train = next((table for file, table in tables.items() if _part_of(file) == "train"), None)
    for file, table in tables.items():
        part = _part_of(file)
        if train is not None and part and part not in parts and list(table.columns) == list(train.columns):
            parts[part] = table
    if len(parts) < 2 or "split" in parts["train"]:
        return None
    return pd.concat([table.assign(split=part) for part, table in parts.items()], ignore_index=True)


def _part_of(file: Path) -> str | None:
    """Part of a split that a file's name or that of its folder means."""
    return part_of(file.stem) or part_of(file.parent.name)


def _files(folder: Path, *, deep: bool) -> Iterator[Path]:
    """Lists in a folder, JSON before text: it cannot be mistaken. Not many: a list for each image says nothing of the others."""
    below = sorted(entry for entry in folder.iterdir() if entry.is_dir())[:_MOST_FOLDERS] if deep else []
    for pattern in ("*.json", "*.jsonl", "*.txt", "*.lst"):
        for place in (folder, *below):
            files = sorted(place.glob(pattern))
            yield from (file for file in files if len(files) <= _MOST_LISTS and file.stat().st_size < _LARGEST)


def _cub(folder: Path) -> pd.DataFrame:
    """CUB's files, each with the number of an image or class and a fact about it."""
    import pandas as pd

    def facts(name: str) -> dict[str, str]:
        file = folder / name
        lines = file.read_text("utf-8").splitlines() if file.is_file() else []
        return dict(line.split(None, 1) for line in lines if len(line.split(None, 1)) == 2)

    images, labels = facts("images.txt"), facts("image_class_labels.txt")
    names, trains = facts("classes.txt"), facts("train_test_split.txt")
    columns = {"path": list(images.values()), "label": [names.get(labels.get(i, ""), labels.get(i)) for i in images]}
    if trains:
        columns["split"] = ["train" if trains.get(i, "1") == "1" else "test" for i in images]
    return pd.DataFrame(columns, dtype=object)


def _frame(file: Path) -> pd.DataFrame | None:
    """Rows of a list, as texts; None if it is none."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    return _of_json(file, text) if file.suffix.lower().startswith(".json") else _of_lines(text)


def _of_lines(text: str) -> pd.DataFrame | None:
    """Rows of a text with a path, and a label after a blank, tab or comma or in the folder that the path begins with."""
    import pandas as pd

    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [line.replace(",", " ").replace("\t", " ").rsplit(" ", 1) for line in lines]
    if pairs and all(len(pair) == 2 for pair in pairs):
        return pd.DataFrame([[path.strip(), label] for path, label in pairs], columns=["path", "label"], dtype=object)
    if lines and all("/" in line for line in lines):
        return pd.DataFrame([[line, line.split("/")[-2]] for line in lines], columns=["path", "label"], dtype=object)
    return None


def _of_json(file: Path, text: str) -> pd.DataFrame | None:
    """Rows of JSON: COCO's, label -> images, image -> label, or a list of records."""
    import pandas as pd

    try:
        lines = text.splitlines()
        content = [json.loads(line) for line in lines if line] if file.suffix.lower() == ".jsonl" else json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(content, dict) and all(_are_records(content.get(name)) for name in ("images", "annotations")):
        return _of_coco(file, content)
    if isinstance(content, dict) and content and all(isinstance(value, list) for value in content.values()):
        pairs = [(str(image), label) for label, images in content.items() for image in images if isinstance(image, str)]
        return pd.DataFrame(pairs, columns=["path", "label"], dtype=object) if pairs else None
    if isinstance(content, dict) and content and all(isinstance(value, str | int) for value in content.values()):
        return pd.DataFrame([(k, str(v)) for k, v in content.items()], columns=["path", "label"], dtype=object)
    return _as_texts(content) if _are_records(content) else None


def _are_records(content: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(content, list) and bool(content) and all(isinstance(item, dict) for item in content)


def _as_texts(records: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(records, dtype=object)
    return frame.map(lambda value: None if value is None or value != value else str(value)).astype(object)


def _of_coco(file: Path, content: Mapping[str, Any]) -> pd.DataFrame:
    """Images of a COCO file, if each has objects of one category."""
    import pandas as pd

    categories = content.get("categories")
    names = {str(item.get("id")): str(item.get("name")) for item in categories} if _are_records(categories) else {}
    labels: dict[str, set[str]] = {}
    for item in content["annotations"]:
        category = str(item.get("category_id"))
        labels.setdefault(str(item.get("image_id")), set()).add(names.get(category, category))
    if several := [image for image, found in labels.items() if len(found) > 1]:
        raise UnknownDataError(
            f"{file}: {len(several):,} of its {len(content['images']):,} images have objects of several categories "
            f"({named(sorted(labels[several[0]]), 4)}), but one label per image is needed; cut the objects out into class folders, "
            "or write a table with the columns path and label"
        )
    images = [(str(item.get("file_name")), labels.get(str(item.get("id")), ())) for item in content["images"]]
    rows = [(file_name, next(iter(found), None)) for file_name, found in images]
    return pd.DataFrame(rows, columns=["path", "label"], dtype=object)
