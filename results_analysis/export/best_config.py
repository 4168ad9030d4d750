"""Export of a trial's config with its provenance, as a file that `thaw train` can run again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from results_analysis.runs.run import Run, RunError
from results_analysis.runs.training_run import Trained
from results_analysis.selection.best_trial import Choice, best_trial
from results_analysis.tables.data_sets import data_set_of
from trainables.core.atomic_write import replacing
from trainables.core.plain_yaml import dump_yaml
from trainables.core.printable import command_line
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.layout import RunLayout

SECTIONS = ("data", "model", "train")
"""Sections of a recipe, in the order in which they are written."""


def trial_config(
    run: Run, *, trial: int | Choice | None = None, extras: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A trial's recipe and its provenance, in plain values.

    Args:
        run: the search.
        trial: number of the trial, or the choice of a rule; None: the best one.
        extras: further entries for `provenance`.
    Raises:
        RunError: if there is no such trial, or nothing to choose from.
    """
    number = trial.trial if isinstance(trial, Choice) else best_trial(run) if trial is None else trial
    sections = _sections(run.recipe(number), run.folder(number).recipe)
    why = trial.why if isinstance(trial, Choice) else None if trial is None else "by hand"
    chosen = {"chosen": why} if why else {}
    return {**sections, "provenance": {**_provenance(run, number), **chosen, **(extras or {})}}


def training_config(trained: Trained) -> dict[str, Any]:
    """The recipe of a run of `thaw train` and its provenance, in plain values."""
    last = trained.reports[-1] if trained.reports else {}
    provenance = {
        "run": trained.name,
        "metric": trained.metric.value,
        "score": last.get("best_score"),
        "best_epoch": last.get("best_epoch"),
        "epochs": last.get("epoch", 0),
        "status": (TrialStatus.FINISHED if last.get("finished") else TrialStatus.RUNNING).value,
        "exported": _now(),
        "thaw": version("thaw-search"),
        "environment": trained.environment,
    }
    return {**_sections(trained.recipe, trained.folder.recipe), "provenance": provenance}


def _sections(recipe: Mapping[str, Any], file: Path) -> dict[str, Any]:
    if missing := [section for section in SECTIONS if section not in recipe]:
        raise RunError(f"{file}: {', '.join(missing)} missing")
    return {section: recipe[section] for section in SECTIONS}


def as_yaml(config: Mapping[str, Any], name: str = "best.yaml") -> str:
    """Text of a config for a file called `name`: comments on its origin, then data, model, train and provenance."""
    origin = config["provenance"]
    score = "no epoch yet" if origin["score"] is None else f"{origin['metric']} {origin['score']:.4f}"
    comment = [
        f"{_named(origin)}: {score} ({origin['status']}).",
        *([f"Chosen: {origin['chosen']}."] if "chosen" in origin else []),
        *([f"Note: {origin['note']}."] if "note" in origin else []),
        f"Train it again: {command_line('train', name)}",
        "`thaw train` reads data, model and train, and compares provenance with its own environment.",
    ]
    blocks = [dump_yaml({key: value}, **_FORMAT) for key, value in config.items()]
    return "".join(f"# {line}\n" for line in comment) + "\n" + "\n".join(blocks)


def _named(origin: Mapping[str, Any]) -> str:
    if "search" not in origin:
        return f"The run {origin['run']!r}"
    return f"Trial {origin['trial']} of {sum(origin['trials'].values())} of the search {origin['search']!r}"


def export_trial(
    run: Run, file: Path | None = None, *, trial: int | Choice | None = None, extras: Mapping[str, Any] | None = None
) -> Path:
    """Writes the config of a trial, and returns the file.

    Args:
        run: the search.
        file: where to write; None: `best.yaml` in the run's folder.
        trial: number of the trial, or the choice of a rule; None: the best one.
        extras: further entries for `provenance`.
    """
    return write_config(trial_config(run, trial=trial, extras=extras), run.layout.best if file is None else file)


def export_training(trained: Trained, file: Path | None = None) -> Path:
    """Writes the config of a run of `thaw train`, and returns the file: `file`, or `best.yaml` in its folder."""
    return write_config(training_config(trained), RunLayout(trained.folder.root).best if file is None else file)


def write_config(config: Mapping[str, Any], file: Path) -> Path:
    """Writes an exported config, and returns the file."""
    text = as_yaml(config, file.name)
    with replacing(file) as stream:
        stream.write(text)
    return file


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


_FORMAT: dict[str, Any] = {"default_flow_style": False, "width": 120}


def _provenance(run: Run, number: int) -> dict[str, Any]:
    row = run.summary(number)
    trials = run.trials()
    statuses = trials["status"].tolist()
    provenance = {
        "search": run.name,
        "trial": number,
        "metric": run.metric.value,
        "score": row["score"],
        "best_epoch": row["best_epoch"],
        "epochs": row["epochs"],
        "status": row["status"],
        "trials": {status.value: statuses.count(status.value) for status in TrialStatus if status.value in statuses},
        "exported": _now(),
        "thaw": version("thaw-search"),
        "environment": run.environment(number),
    }
    if TrialStatus.FINISHED.value not in statuses:
        provenance["note"] = f"no trial of the search had finished; this one was {row['status']}"
    elif data_set_of(trials).any():
        provenance["note"] = "trials of the search saw different data, so their scores cannot be compared"
    return provenance
