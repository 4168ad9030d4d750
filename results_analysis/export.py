"""The config of a trial, with where it comes from: a file that `thaw train` runs again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from results_analysis.runs import Run, RunError
from results_analysis.table import best_of
from trainables.layout import TrialStatus, replacing

SECTIONS = ("data", "model", "train")
"""Of a recipe, in the order in which people read them."""


def best_trial(run: Run) -> int:
    """Number of the best trial, by the rule of `best_of`: finished ones first.

    Raises:
        RunError: if no trial that can be chosen has a score yet.
    """
    number = best_of(run.trials(), run.metric)
    if number is None:
        raise RunError(
            f"run {run.name!r} has no best trial yet: none has finished an epoch with a score; name one to export"
        )
    return number


def trial_config(run: Run, *, trial: int | None = None, extras: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A trial's recipe and its provenance, in plain values.

    Args:
        trial: its number; the best one if not given.
        extras: further entries for `provenance`.
    Raises:
        RunError: if there is no such trial, or nothing to choose from.
    """
    number = best_trial(run) if trial is None else trial
    recipe, file = run.recipe(number), run.folder(number).recipe
    if missing := [section for section in SECTIONS if section not in recipe]:
        raise RunError(f"{file}: {', '.join(missing)} missing")
    sections = {section: recipe[section] for section in SECTIONS}
    return {**sections, "provenance": {**_provenance(run, number), **(extras or {})}}


def as_yaml(config: Mapping[str, Any], name: str = "best.yaml") -> str:
    """What `trial_config` returned as a file called `name`: what it is on top, then data, model, train, provenance."""
    origin = config["provenance"]
    score = "no epoch yet" if origin["score"] is None else f"{origin['metric']} {origin['score']:.4f}"
    of_how_many = sum(origin["trials"].values())
    comment = [
        f"Trial {origin['trial']} of {of_how_many} of the search {origin['search']!r}: {score} ({origin['status']}).",
        *([f"Note: {origin['note']}."] if "note" in origin else []),
        f"Train it again: thaw train {name}",
        "Training takes data, model and train from here, and compares provenance with what it finds.",
    ]
    blocks = [yaml.dump({key: value}, Dumper=_Readable, **_FORMAT) for key, value in config.items()]
    return "".join(f"# {line}\n" for line in comment) + "\n" + "\n".join(blocks)


def export_trial(
    run: Run, file: Path | None = None, *, trial: int | None = None, extras: Mapping[str, Any] | None = None
) -> Path:
    """Writes the config of a trial, by default the best one's, and returns where: `file`, or the run's `best.yaml`."""
    target = run.layout.best if file is None else file
    text = as_yaml(trial_config(run, trial=trial, extras=extras), target.name)
    with replacing(target) as stream:
        stream.write(text)
    return target


class _Readable(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True  # `*id001` is no way to tell people about a value that stands in two places


_FORMAT: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "default_flow_style": False, "width": 120}


def _provenance(run: Run, number: int) -> dict[str, Any]:
    row = run.summary(number)
    statuses = run.trials()["status"].tolist()
    provenance = {
        "search": run.name,
        "trial": number,
        "metric": run.metric.value,
        "score": row["score"],
        "best_epoch": row["best_epoch"],
        "epochs": row["epochs"],
        "status": row["status"],
        "trials": {status.value: statuses.count(status.value) for status in TrialStatus if status.value in statuses},
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "thaw": version("thaw-search"),
        "environment": run.environment(number),
    }
    if TrialStatus.FINISHED.value not in statuses:
        provenance["note"] = f"no trial of the search had finished; this one was {row['status']}"
    return provenance
