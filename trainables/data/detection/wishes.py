"""`Wishes`: what the user says about the data, so that it need not be guessed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from trainables.core.vocabulary import Task
from trainables.recipe.rules.stage_plans import Plan


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """Options of `thaw init`; None: to be guessed."""

    images: Path | None = None
    """Folder in which the images of a table are searched for."""
    path: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    task: Task | None = None
    plan: Plan | None = None
    """Plan of stages, in place of those that fit the number of images."""
    file: Path | None = None
    """Search file to write, for the commands in doubts; None: the usual one."""

    @property
    def columns(self) -> dict[str, str]:
        """Columns by role, where the user names one."""
        roles = {"path": self.path, "label": self.label, "group": self.group, "split": self.split}
        return {role: name for role, name in roles.items() if name is not None}

    @property
    def typed(self) -> dict[str, str]:
        """Options about the data that the user gave: name -> value."""
        options = {"images": self.images, **self.columns, "task": self.task}
        return {name: str(value) for name, value in options.items() if value is not None}

    def command(self, data: Path, **more: str) -> str:
        """Command that says the same and more.

        Args:
            data: path of the data.
            more: further options.
        """
        plan = {"plan": self.plan} if self.plan else {}
        options = [f"--{name} {shlex.quote(value)}" for name, value in (self.typed | plan | more).items()]
        output = [f"-o {shlex.quote(str(self.file))}"] if self.file else []
        return " ".join(["thaw init", shlex.quote(str(data)), *options, *output, "--force"])
