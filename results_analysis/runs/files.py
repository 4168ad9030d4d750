"""Reads single files of a run: its environment, and YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic_core import from_json

from results_analysis.runs.errors import RunError
from trainables.run_folder.layout import TrialLayout


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


def read_yaml(file: Path) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Raises:
        RunError: if the file is missing or holds anything else.
    """
    try:
        data = yaml.safe_load(file.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{file} is missing") from None
    except yaml.YAMLError as error:
        raise RunError(f"{file}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise RunError(f"{file}: not a mapping of keys to values")
    return data
