"""Usage of the machine or cluster by a search."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray

from search.cluster.trial_resources import Amounts, how_many

_EVERY_S = 1.0
"""Seconds between two queries of Ray's free resources."""


class TrialSlots:
    """Number of trials to have at once: the most for which there was room so far, in addition to what others run."""

    def __init__(self, bundle: Amounts, *, processes: int, running: Callable[[], int], waiting: int):
        """
        Args:
            bundle: resources of each process of a trial, by Ray's names.
            processes: processes of a trial.
            running: returns the number of running trials.
            waiting: trials beyond those that fit, so that a cluster with an autoscaler grows.
        """
        self._bundle, self._processes, self._running, self._waiting = bundle, processes, running, waiting
        self._asked, self._most = float("-inf"), 0

    def __call__(self) -> int:
        if time.monotonic() - self._asked >= _EVERY_S:
            self._asked = time.monotonic()
            self._most = max(
                self._most, self._running() + how_many(self._bundle, ray.available_resources()) // self._processes
            )
        return self._most + self._waiting


def usage() -> str:
    """Usage as text: `CPU 16/16 · GPU 2/2 · cores here 97% busy`.

    It contains the resources that Ray has given to trials; if psutil and pynvml are installed, also how busy this
    machine is.

    Raises:
        OSError: if none of Ray's nodes is alive: Ray does not always notify a driver, and Tune would wait forever.
    """
    total, free = ray.cluster_resources(), ray.available_resources()
    if not total:
        raise OSError("Ray died during the search: none of its nodes answers")
    parts = [
        f"{name} {total[name] - free.get(name, 0.0):.4g}/{total[name]:.4g}"
        for name in ("CPU", "GPU")
        if total.get(name)
    ]
    return " · ".join([*parts, *_of_this_machine()])


def _of_this_machine() -> list[str]:
    parts = []
    if psutil := _installed("psutil"):
        parts.append(f"cores here {psutil.cpu_percent():.0f}% busy")
    if nvml := _installed("pynvml"):
        # NVMLError: no driver, no GPU, or one that does not report its utilization.
        with suppress(nvml.NVMLError):
            nvml.nvmlInit()
            handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
            busy = [nvml.nvmlDeviceGetUtilizationRates(handle).gpu for handle in handles]
            parts.append(f"GPUs here {sum(busy) / len(busy):.0f}% busy")
    return parts


def _installed(name: str) -> Any:
    """A module, or None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None
