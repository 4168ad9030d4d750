"""Columns of a table of images."""

from __future__ import annotations

from pydantic import model_validator

from trainables.core.config_errors import Config


class Columns(Config):
    """Names of a table's columns."""

    path: str = "path"
    """Image files, relative to `data.images`, else to the table's folder."""
    label: str = "label"
    """Names or numbers; in regression the targets."""
    group: str | None = None
    """Groups: images of one group (a patient, a video, a device) stay on the same side of the split."""
    split: str | None = None
    """A given split: `train`, `val` or `test`. Rows of `test` are not used until `thaw confirm` reads them."""
    time: str | None = None
    """Times of the images, as numbers (years) or dates, for `data.adjust_time`."""
    weight: str | None = None
    """Weights of the images in the training loss, 0 or more."""

    @model_validator(mode="after")
    def _one_role_per_column(self) -> Columns:
        names = [
            name for name in (self.path, self.label, self.group, self.split, self.time, self.weight) if name is not None
        ]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"a column can have only one role; named more than once: {', '.join(map(repr, twice))}")
        return self

    def named(self) -> dict[str, str]:
        """Column names by role, for the roles that have a column."""
        return {role: name for role, name in self if name is not None}
