"""How much of a machine or cluster a search uses."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray

from search.cluster.trial_resources import Amounts, how_many

_EVERY_S = 1.0
"""How often Ray is asked what is free."""


class Room:
    """How many trials are to be there at once: the most that there was room for yet, beside what others run."""

    def __init__(self, bundle: Amounts, *, running: Callable[[], int], waiting: int):
        """
        Args:
            bundle: what a trial takes, by Ray's names.
            running: how many trials run now.
            waiting: trials beyond those that there is room for, which ask a cluster to grow.
        """
        self._bundle, self._running, self._waiting = bundle, running, waiting
        self._asked, self._most = float("-inf"), 0

    def __call__(self) -> int:
        if time.monotonic() - self._asked >= _EVERY_S:
            self._asked = time.monotonic()
            self._most = max(self._most, self._running() + how_many(self._bundle, ray.available_resources()))
        return self._most + self._waiting


def usage() -> str:
    """`CPU 16/16 · GPU 2/2 · cores here 97% busy`

    What Ray has given to trials; and where psutil and pynvml are installed, how busy this machine is.

    Raises:
        OSError: if no node of Ray's lives any more: it does not always tell a driver, and Tune would wait for ever.
    """
    there, free = ray.cluster_resources(), ray.available_resources()
    if not there:
        raise OSError("Ray has died under the search: none of its nodes answers")
    parts = [
        f"{name} {there[name] - free.get(name, 0.0):.4g}/{there[name]:.4g}"
        for name in ("CPU", "GPU")
        if there.get(name)
    ]
    return " · ".join([*parts, *_of_this_machine()])


def _of_this_machine() -> list[str]:
    parts = []
    if psutil := _installed("psutil"):
        parts.append(f"cores here {psutil.cpu_percent():.0f}% busy")
    if nvml := _installed("pynvml"):
        # NVMLError: no driver, no GPU, or one that tells nothing.
        with suppress(nvml.NVMLError):
            nvml.nvmlInit()
            handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
            busy = [nvml.nvmlDeviceGetUtilizationRates(handle).gpu for handle in handles]
            parts.append(f"GPUs here {sum(busy) / len(busy):.0f}% busy")
    return parts


def _installed(name: str) -> Any:
    """A module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None
