"""Connects to Ray: started on this machine, or a cluster that is there. Import it before Ray, torch and Optuna."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

# Before Ray and torch are imported, here or in a worker: idle threads shall sleep; Ray shall neither phone home nor print
# and write what we show and write ourselves. A cluster asks for a token, unless the user says RAY_AUTH_MODE=disabled.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray

from search.address_config import AUTO, LOCAL
from search.reachable import check_reachable

PACKAGES = ("search", "trainables", "spaces", "results_analysis")
"""The code that nodes need."""
_TRAVEL = ("OMP_WAIT_POLICY", "THAW_CACHE", "THAW_CACHE_GIB")
"""Variables that trials on other machines get as they are here."""
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in what `ray job submit` runs."""
_CODE_ONLY = ["*", "!*/", "!*.py", ".*", "__pycache__", "/runs"]
"""Of the working directory: neither data nor runs travel."""


@contextmanager
def local_ray(cpus: int | None = None) -> Iterator[None]:
    """
    Args:
        cpus: cores to compute with; None: all that Ray finds.
    """
    ray.init(address=LOCAL, num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
    try:
        yield
    finally:
        ray.shutdown()


def place_of(address: str) -> str:
    """Where a search with this `search.address` runs: a job on a cluster stays on it."""
    return AUTO if address == LOCAL and _JOB in os.environ else address


@contextmanager
def connected(place: str, *, own_code: bool) -> Iterator[None]:
    """
    Args:
        place: `local`, `auto` or `host:port`.
        own_code: trials import modules of the user's: those in the working directory travel with ours.
    Raises:
        InputError: if there is no such cluster, or it does not let us in.
    """
    if place == LOCAL:
        with local_ray():
            yield
        return
    check_reachable(place)
    # Ray finds the code of the driver in its `py_modules` and in the working directory that it sends along.
    ray.init(address=place, runtime_env=_runtime_env(own_code), log_to_driver=False, logging_level="CRITICAL")
    try:
        yield
    finally:
        ray.shutdown()


def is_insecure() -> bool:
    """Whether the user has waived tokens."""
    return os.environ["RAY_AUTH_MODE"] != "token"


def _runtime_env(own_code: bool) -> dict[str, Any]:
    """What travels to the nodes, as far as `ray job submit` has not sent it already (Ray refuses it twice)."""
    here = Path(__file__).parent.parent
    wanted: dict[str, Any] = {
        "py_modules": [str(here / name) for name in PACKAGES],
        "excludes": _CODE_ONLY,
        "env_vars": {name: os.environ[name] for name in _TRAVEL if name in os.environ},
    }
    if own_code:
        wanted["working_dir"] = str(Path.cwd())
    given = json.loads(os.environ.get(_JOB, "{}")).get("runtime_env") or {}
    variables = {k: v for k, v in wanted["env_vars"].items() if k not in given.get("env_vars", {})}
    return {**{key: value for key, value in wanted.items() if key not in given}, "env_vars": variables}


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Ray stops cleanly on SIGINT only; a scheduler that preempts a machine sends SIGTERM."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
