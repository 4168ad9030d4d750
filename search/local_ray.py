"""Ray on this machine, for as long as a search or a run in several processes lasts. Import it before Ray, torch and Optuna."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Before Ray and torch are imported, here or in a worker: idle threads shall sleep; Ray shall neither phone home nor print
# and write what we show and write ourselves.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

import ray


@contextmanager
def local_ray(cpus: int | None = None) -> Iterator[None]:
    """
    Args:
        cpus: cores to compute with; None: all that Ray finds.
    """
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
    try:
        yield
    finally:
        ray.shutdown()
