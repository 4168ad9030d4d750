"""`thaw train`: trains one run, in a folder named after its config and the time; without Ray if one process does it."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from search.config.yaml_source import InputError
from search.launch.run_files import write_run_files
from search.launch.shown_run import ShownRun
from search.launch.sigterm import sigterm_as_ctrl_c
from search.launch.sigusr1 import sigusr1_saves
from search.progress.progress_bar import changing_bar
from search.progress.tensorboard_events import TrialEvents
from search.progress.terminal import Console
from trainables.core.config_errors import ConfigError
from trainables.core.plain_yaml import load_yaml
from trainables.data.dataset import Dataset
from trainables.recipe.recipe import Recipe, parse_recipe
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import TrialLayout
from trainables.training.trainer import Trainer
from trainables.trial.training_run import TrainingRun


def run_to_resume(recipe: Recipe, runs: Path, name: str, *, new: bool, resume: str | None) -> TrialLayout | None:
    """Folder of the newest run of this name with the same recipe; None if a new one is to be started.

    Args:
        recipe: recipe of the run.
        runs: folder of all runs.
        name: name of the config.
        new: True for a new run in any case.
        resume: name of the folder to resume.
    Raises:
        InputError: if there is no folder called `resume`, or it has another recipe.
    """
    if resume is not None:
        folder = TrialLayout(runs / resume)
        if not folder.recipe.is_file():
            existing = ", ".join(path.name for path in _folders(runs, name)) or "none"
            raise InputError(f"{folder.root} is not a training run; runs of {name!r}: {existing}")
        if not _trains(folder, recipe):
            raise InputError(f"{folder.root} has another recipe than {name!r} has now; --new starts a new run")
        return folder
    if not new:
        for path in reversed(_folders(runs, name)):
            if _trains(TrialLayout(path), recipe):
                return TrialLayout(path)
    return None


def new_folder(runs: Path, name: str) -> TrialLayout:
    """Makes the folder of a new run. It is no other's, even if several are started within a second.

    Args:
        runs: folder of all runs.
        name: name of the config.
    """
    now = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    numbers = count(2)
    folder = runs / now
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            folder = runs / f"{now}-{next(numbers)}"
        else:
            return TrialLayout(folder)


def _folders(runs: Path, name: str) -> list[Path]:
    """Folders of the runs of this name, oldest first."""
    paths = runs.glob(f"{glob.escape(name)}-[0-9]*-[0-9]*")
    return sorted(path for path in paths if TrialLayout(path).recipe.is_file())


def _trains(folder: TrialLayout, recipe: Recipe) -> bool:
    """True if the run in a folder has this recipe; its checkpoints may be written and kept by another policy."""
    found = _recipe_in(folder)
    if found is None:
        return False
    train = found.train.model_copy(update={"checkpoints": recipe.train.checkpoints})
    return found.model_copy(update={"train": train}) == recipe


def _recipe_in(folder: TrialLayout) -> Recipe | None:
    try:
        return parse_recipe(load_yaml(folder.recipe.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError, ConfigError):
        return None


def train(
    recipe: Recipe,
    folder: TrialLayout,
    dataset: Dataset,
    console: Console,
    *,
    resume_from: str | None = None,
    project: str | None = None,
) -> dict[str, Any]:
    """Trains a run, or resumes it, prints a line for each epoch, and writes the files of `run_files` at its end.

    Args:
        recipe: recipe of the run.
        folder: its folder.
        dataset: its data.
        console: shows the epochs.
        resume_from: checkpoint to resume from, see `TrainingRun`.
        project: W&B project to log to; None: none.
    Returns:
        Report of the last epoch.
    """
    events = TrialEvents(folder.root, params={})
    with (
        sigterm_as_ctrl_c(),
        sigusr1_saves(folder) as signals,
        changing_bar(console) as show,
        ShownRun(recipe, folder, events, signals, console, show, project) as shown,
    ):
        try:
            trainer = _train(recipe, folder, dataset, shown, resume_from)
        except KeyboardInterrupt:
            if shown.epochs:
                console.out(
                    "stopped; writing the predictions of the best epoch (Ctrl+C again skips them)", highlight=False
                )
                write_run_files(recipe, folder, dataset)
            raise
        if shown.epochs or not folder.val_metrics.exists():
            write_run_files(recipe, folder, dataset, trainer=trainer)
    return read_epochs(folder.epochs)[-1]


def _train(
    recipe: Recipe, folder: TrialLayout, dataset: Dataset, shown: ShownRun, resume_from: str | None
) -> Trainer | None:
    """Trains the run to its end. Returns its trainer if it is in this process."""
    if recipe.train.workers > 1:
        from search.launch.train_in_processes import train_in_processes  # imports Ray

        train_in_processes(recipe, folder, shown, resume_from=resume_from)
        return None
    steps = shown.steps if shown.has_bar else None
    options: dict[str, Any] = {"progress": shown.features, "show_steps": steps, "resume_from": resume_from}
    with closing(TrainingRun(recipe, folder, dataset=dataset, **options)) as run:
        shown.done_before(run.reports)
        for report in run:
            shown.epoch(report, run.reports)
    return run.trainer


def best_line(report: Mapping[str, Any], recipe: Recipe) -> str:
    """Line for the best epoch: `Best kappa: 0.8301 in epoch 5`."""
    if report["best_score"] is None:
        return f"No epoch had a {recipe.train.metric}: training diverged"
    return f"Best {recipe.train.metric}: {report['best_score']:.4f} in epoch {report['best_epoch']}"


def compared_with(provenance: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Line that compares a run of an exported config with the trial it was exported from.

    Args:
        provenance: provenance of the config.
        report: last report of the run.
    """
    expected, got = provenance.get("score"), report["best_score"]
    searched = "search" in provenance or "run" not in provenance
    trial = f"trial {provenance.get('trial')} of {provenance.get('search')}" if searched else str(provenance["run"])
    if got is not None and got == expected:
        return f"best score {got:.6f}: the same as {trial}, to the last bit"
    return f"best score {got}; {trial} had {expected}"  # all digits: they may differ in the last


def fingerprint_warning(provenance: Mapping[str, Any], dataset: Dataset) -> str | None:
    """Warning if an exported config is trained on other data than its trial; None if not."""
    expected = provenance.get("environment", {}).get("data_fingerprint")
    if expected is None or expected == dataset.fingerprint:
        return None
    return (
        f"warning: the data differs from that of the exported trial ({dataset.fingerprint[:12]}, not {expected[:12]})"
    )
