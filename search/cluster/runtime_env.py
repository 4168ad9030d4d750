"""What goes along to the nodes of a cluster: our code, the user's, and what the environment says."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGES = ("search", "trainables", "spaces", "results_analysis")
"""The code that nodes need."""
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in what `ray job submit` runs."""
_VARIABLES = ("OMP_WAIT_POLICY", "THAW_CACHE", "THAW_CACHE_GIB")
"""Trials on other machines get them as they are here."""


def runtime_env(functions: Iterable[str]) -> dict[str, Any]:
    """Ray's `runtime_env`, as far as `ray job submit` has not given it already (Ray refuses it twice).

    Args:
        functions: `module:function` of the user's that trials call.
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
    """Packages and modules that functions of the user's come from, and those beside them that are in use. What is installed
    stays: nodes have it, or import it in vain."""
    named = {function.partition(":")[0].partition(".")[0] for function in functions}
    folders = {place.parent for name in named if (place := _place(name))}
    folders = {folder for folder in folders if folder.name not in {"site-packages", "dist-packages"}}
    tops = sorted({name.partition(".")[0] for name in list(sys.modules)} - set(PACKAGES))
    return [place for name in tops if (place := _place(name)) and place.parent in folders]


def _place(name: str) -> Path | None:
    """The folder of a package, or the file of a module, that is imported."""
    module = sys.modules.get(name)
    if paths := list(getattr(module, "__path__", ())):
        return Path(paths[0]).absolute()
    file = getattr(module, "__file__", None)
    return Path(file).absolute() if file else None
