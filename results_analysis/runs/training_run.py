"""A training run on disk: a trial of a search, or a run of `thaw train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results_analysis.runs.files import metric_in, read_environment, read_yaml
from results_analysis.runs.run import Run, RunError, find_run, load
from trainables.core.config_errors import nearest
from trainables.core.vocabulary import Metric
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunLayout, TrialLayout
from trainables.run_folder.trial_columns import Report, best_report


@dataclass(frozen=True)
class Trained:
    """A training run, read once."""

    name: str
    """Name: `digits:7` for a trial, else that of the folder."""
    folder: TrialLayout
    recipe: dict[str, Any]
    """Sections data, model and train."""
    reports: list[dict[str, Any]]
    """Epoch reports, oldest first."""
    environment: dict[str, Any]

    @property
    def metric(self) -> Metric:
        return metric_in(self.recipe, self.folder.recipe)

    @property
    def best(self) -> Report:
        """The report of the best epoch.

        Raises:
            RunError: if no epoch has a score.
        """
        report = best_report(self.reports)
        if report is None:
            raise RunError(f"{self.name} has no best epoch: no epoch has finished with a score")
        return report

    def read_again(self) -> Trained:
        """The run in its current state.

        Raises:
            RunError: if its files cannot be read.
        """
        return _read(self.name, self.folder)


def trial_of(run: Run, number: int) -> Trained:
    """Reads a trial of a search."""
    folder = run.folder(number)
    return Trained(f"{run.name}:{number}", folder, run.recipe(number), run.reports(number), run.environment(number))


def training_in(folder: Path) -> Trained | None:
    """Reads a run of `thaw train` from its folder; None where the folder holds none.

    Raises:
        RunError: if its files cannot be read.
    """
    layout = TrialLayout(folder)
    if not layout.recipe.is_file() or not layout.epochs.is_file():
        return None
    return _read(folder.resolve().name, layout)


def _read(name: str, layout: TrialLayout) -> Trained:
    try:
        environment = read_environment(layout)
        return Trained(name, layout, read_yaml(layout.recipe), read_epochs(layout.epochs), environment)
    except ValueError as error:
        raise error if isinstance(error, RunError) else RunError(str(error)) from None


def find_search_or_training(name: str | Path, runs_dir: str | Path = "runs") -> Run | Trained:
    """Loads a search or a run of `thaw train`, given by its name below `runs_dir` or by its folder.

    Raises:
        RunError: if there is neither.
    """
    is_name = str(name) == Path(name).name != ".."
    for place in [Path(runs_dir) / name, Path(name)] if is_name else [Path(name)]:
        if RunLayout(place).config.is_file():
            return load(place)
        if training := training_in(place):
            return training
    if is_name and not (Path(runs_dir) / name).is_dir() and (names := _names(Path(runs_dir))):
        raise RunError(f"no run {str(name)!r} in {str(runs_dir)!r}; {nearest(str(name), names)}")
    return load(find_run(name, runs_dir))  # raises an error that says what is wrong


def _names(runs_dir: Path) -> list[str]:
    """Names of the searches and of the runs of `thaw train` in a folder, in alphabetical order."""
    if not runs_dir.is_dir():
        return []
    return sorted(
        folder.name
        for folder in runs_dir.iterdir()
        if RunLayout(folder).config.is_file() or TrialLayout(folder).recipe.is_file()
    )
