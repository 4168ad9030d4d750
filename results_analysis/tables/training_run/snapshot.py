"""`TrainingSnapshot`: the state of a training run at one moment, read once so that all parts of a report show the same state."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from results_analysis.runs.files import class_names
from results_analysis.runs.training_run import Trained
from trainables.core.vocabulary import Metric, Task
from trainables.run_folder.checkpoint_registry import Entry, read_registry
from trainables.run_folder.trial_columns import Report, best_report

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class TrainingSnapshot:
    """State of a training run at one moment."""

    run: Trained
    predictions: pd.DataFrame | None
    """Predictions for the validation images, as `val_predictions.parquet` holds them; None where there are none."""
    damage: str | None
    """Reason why the predictions cannot be read."""
    error: str | None
    """Message of the last failure, with its type; None: the run has not failed, or continued since."""
    checkpoints: list[Entry]
    """Registry of all checkpoints ever written."""
    kept: set[str]
    """Names of the checkpoint files on disk."""

    @property
    def reports(self) -> list[dict[str, Any]]:
        return self.run.reports

    @property
    def metric(self) -> Metric:
        return self.run.metric

    @property
    def task(self) -> Task:
        return "regression" if self.section("data").get("task") == "regression" else "classification"

    def section(self, name: str) -> dict[str, Any]:
        """Section of the recipe; empty where it has none."""
        found = self.run.recipe.get(name)
        return found if isinstance(found, dict) else {}

    @property
    def stages(self) -> list[dict[str, Any]]:
        """Stages of the recipe."""
        found = self.section("train").get("stages")
        return [stage for stage in found if isinstance(stage, dict)] if isinstance(found, list) else []

    @property
    def max_epochs(self) -> int | None:
        """Largest possible number of epochs; None where the recipe does not tell."""
        epochs = [n for stage in self.stages if isinstance(n := stage.get("epochs"), int)]
        return sum(epochs) if epochs and len(epochs) == len(self.stages) else None

    @property
    def is_over(self) -> bool:
        return bool(self.reports) and bool(self.reports[-1]["finished"])

    @cached_property
    def best(self) -> Report:
        """Report of the best epoch; empty where no epoch has a score."""
        return best_report(self.reports) or {}

    @cached_property
    def class_names(self) -> list[str]:
        """See `class_names`."""
        return class_names(self.run.environment, len(self.best.get("confusion") or ()))

    def images(self, side: str) -> int | None:
        """Number of images for `training` or `validation`; None where the run does not record it."""
        number = self.run.environment.get(f"{side}_images")
        return number if isinstance(number, int) else None


def take_training_snapshot(run: Trained) -> TrainingSnapshot:
    """Reads what a training run left on disk; damaged predictions are left out, with the reason.

    Raises:
        RunFileError: if the registry of checkpoints cannot be read.
    """
    predictions, damage = _predictions(run)
    folder = run.folder
    return TrainingSnapshot(
        run,
        predictions,
        damage,
        _message(run),
        read_registry(folder.registry) if folder.registry.is_file() else [],
        {path.name for path in folder.checkpoints.glob("[0-9]*.pt")},
    )


def _predictions(run: Trained) -> tuple[pd.DataFrame | None, str | None]:
    import pandas as pd

    file = run.folder.val_predictions
    if not file.is_file():
        return None, None
    try:
        frame = pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        return None, f"{file.name} cannot be read: {str(error).partition(chr(10))[0]}"
    if missing := [name for name in ("image", "label", "prediction") if name not in frame]:
        return None, f"{file.name} has no column {', '.join(missing)}"
    return frame, None


def _message(run: Trained) -> str | None:
    """Last line of the traceback, without the packages of the error's type."""
    with suppress(OSError):
        lines = run.folder.error.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), None)
        return last and re.sub(r"^(\w+\.)+(?=\w+: )", "", last)
    return None
