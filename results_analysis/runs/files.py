"""Reads single files of a run: its environment, epoch reports, and YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import from_json

from results_analysis.runs.errors import RunError
from trainables.core.config_errors import nearest
from trainables.core.plain_yaml import load_yaml
from trainables.core.vocabulary import Metric
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import CHECKPOINT_FILE, TrialLayout


def read_environment(folder: TrialLayout) -> dict[str, Any]:
    """Reads a run's `environment.json`; empty where there is none yet.

    Raises:
        RunError: if the file does not hold a JSON object.
    """
    file = folder.environment
    try:
        data = from_json(file.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise RunError(f"{file}: not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise RunError(f"{file}: not a JSON object")
    return data


def read_reports(folder: TrialLayout) -> list[dict[str, Any]]:
    """Reads the epoch reports of a trial; `checkpoint` is the file of the epoch that is on disk now, or None.

    Raises:
        RunFileError: if they cannot be read; names the file.
    """
    names = [file.name for file in folder.checkpoints.iterdir()] if folder.checkpoints.is_dir() else []
    there = {int(name.partition("_")[0]): name for name in names if re.fullmatch(CHECKPOINT_FILE, name)}
    reports = read_epochs(folder.epochs)
    for report in reports:
        report["checkpoint"] = there.get(report["epoch"])
    return reports


def read_yaml(file: Path) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Raises:
        RunError: if the file is missing or holds anything else.
    """
    try:
        data = load_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{file} is missing") from None
    except (yaml.YAMLError, ValueError) as error:
        raise RunError(f"{file}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise RunError(f"{file}: not a mapping of keys to values")
    return data


def metric_in(config: dict[str, Any], file: Path) -> Metric:
    """Metric of a recipe.

    Args:
        config: the recipe, or a config that contains it.
        file: its file, for the message.
    Raises:
        RunError: if it names none.
    """
    train = config.get("train")
    name = train.get("metric") if isinstance(train, dict) else None
    if name is None:
        raise RunError(f"{file}: train.metric is required and missing")
    valid = [metric.value for metric in Metric]
    if name not in valid:
        raise RunError(f"{file}: train.metric: unknown metric {name!r}; {nearest(str(name), valid)}")
    return Metric(name)


def class_names(environment: Mapping[str, Any], count: int) -> list[str]:
    """Names of a run's classes in the order of their labels; their numbers where the run does not record names.

    Args:
        environment: environment of the run.
        count: number of classes.
    """
    names = [str(name) for name in environment.get("classes", ())]
    return names if len(names) == count else [str(i) for i in range(count)]
