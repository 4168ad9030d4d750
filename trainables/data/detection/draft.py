"""`Draft`: a data section in the making, with the rows it stands for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.core.vocabulary import Task

if TYPE_CHECKING:
    import pandas as pd

PROVISIONAL_DEPTH = 2
"""Value of `data.depth` that says that the data are volumes, until their slices are counted."""


@dataclass(kw_only=True)
class Draft:
    """Data found at a path, before they are opened."""

    what: str
    """Kind of data in words: `3 class folders`."""
    place: Path
    """The data, as the user names it."""
    rows: pd.DataFrame | None = None
    """Images, one a row: `path` (None if its file is missing) and `label`, and perhaps `group` and `split`; None: a source without
    files."""
    data: dict[str, Any] | None = None
    """Section `data` of a recipe with which a source reads these rows as they lie there; None: they need a table of their own."""
    reading: dict[str, Any] = field(default_factory=dict)
    """Further keys of the section: how the images are read."""
    columns: dict[str, str] = field(default_factory=dict)
    """Name of the column that each role of `rows` was taken from."""
    task: Task = "classification"
    doubts: list[str] = field(default_factory=list)
    """Doubtful points for a person to check, one a line."""

    def section(self, table: str) -> dict[str, Any]:
        """Section `data` of a recipe, without the image size.

        Args:
            table: path of the table of these rows, if they need one.
        """
        section = dict(self.data) if self.data else self._of_table(table)
        if self.task == "regression":
            section["task"] = self.task
        return section | self.reading

    @property
    def labels(self) -> set[str]:
        """Labels of the rows."""
        return set() if self.rows is None else set(self.rows["label"].dropna())

    def table(self) -> pd.DataFrame:
        """Table of the rows, whose paths are relative to the folder that holds all of them."""
        assert self.rows is not None
        root = self._root()
        return self.rows.assign(path=[os.path.relpath(file, root) for file in self.rows["path"]])

    def _of_table(self, table: str) -> dict[str, Any]:
        assert self.rows is not None
        columns = {role: role for role in ("path", "label", "group", "split") if role in self.rows}
        return {"source": "table", "path": table, "images": self._images(), "columns": columns}

    def _images(self) -> str:
        """Folder that holds all images, relative if the user names the data so."""
        root = self._root()
        return root if self.place.is_absolute() else os.path.relpath(root)

    def _root(self) -> str:
        assert self.rows is not None
        root: str = os.path.commonpath([os.path.dirname(file) for file in self.rows["path"]])  # noqa: PTH120
        return root

    def keep(self, rows: pd.Series[bool]) -> None:
        """Leaves out the other rows, which needs a table of its own."""
        assert self.rows is not None
        self.rows, self.data = self.rows[rows], None

    def group_by(self, name: str, values: pd.Series) -> None:
        """Adds groups that no column of a table holds, which needs a table of its own.

        Args:
            name: what they are.
            values: group of each row.
        """
        assert self.rows is not None
        self.rows, self.data = self.rows.assign(group=values), None
        self.columns["group"] = name

    def drop(self, column: str) -> None:
        """Drops a guessed column."""
        assert self.rows is not None
        self.rows = self.rows.drop(columns=column)
        if self.data and "columns" in self.data:
            del self.data["columns"][column]

    def doubt(self, text: str) -> None:
        """Adds a doubt."""
        self.doubts.append(text)
