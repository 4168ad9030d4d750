"""Runtime environment of a cluster's nodes: our code, the user's, and environment variables."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGES = ("search", "trainables", "spaces", "results_analysis")
"""Packages that nodes need."""
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Environment variable that Ray sets in what `ray job submit` runs."""
_VARIABLES = ("OMP_WAIT_POLICY", "THAW_CACHE", "THAW_CACHE_GIB")
"""Environment variables that trials on other machines get with the values they have here."""


def runtime_env(functions: Iterable[str]) -> dict[str, Any]:
    """Ray's `runtime_env`, without the parts that `ray job submit` has set already (Ray rejects setting them twice).

    Args:
        functions: the user's functions that trials call, as `module:function`.
    """
    here = Path(__file__).parents[2]
    wanted: dict[str, Any] = {
        "py_modules": [str(place) for place in [*(here / name for name in PACKAGES), *own_modules(functions)]],
        "env_vars": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
    given = json.loads(os.environ.get(JOB, "{}")).get("runtime_env") or {}
    if {"working_dir", "py_modules"} & given.keys():
        del wanted["py_modules"]
    wanted["env_vars"] = {k: v for k, v in wanted["env_vars"].items() if k not in given.get("env_vars", {})}
    return wanted


def own_modules(functions: Iterable[str]) -> list[Path]:
    """Packages and modules of the user's functions, and imported ones beside them. Installed packages are left out:
    nodes must have them installed, too.

    Args:
        functions: as `module:function`.
    """
    named = {function.partition(":")[0].partition(".")[0] for function in functions}
    folders = {place.parent for name in named if (place := _place(name))}
    folders = {folder for folder in folders if folder.name not in {"site-packages", "dist-packages"}}
    tops = sorted({name.partition(".")[0] for name in list(sys.modules)} - set(PACKAGES))
    return [place for name in tops if (place := _place(name)) and place.parent in folders]


def _place(name: str) -> Path | None:
    """Folder of an imported package, or file of an imported module; None if it has neither."""
    module = sys.modules.get(name)
    if paths := list(getattr(module, "__path__", ())):
        return Path(paths[0]).absolute()
    file = getattr(module, "__file__", None)
    return Path(file).absolute() if file else None
