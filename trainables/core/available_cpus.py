"""CPU cores that this process may use, and its own share of them. `os.cpu_count()` counts those of the whole machine instead."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def available_cpus(root: Path = Path("/")) -> int:
    """Number of cores: those of the process's affinity, which Slurm and taskset set, but no more than the quota of its cgroup,
    which containers have.

    Args:
        root: folder that holds the system's `proc` and `sys`.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([allowed, *_quotas(root)])))


_share = math.inf
"""Cores that were given to this process; see `set_own_cpus`."""


def own_cpus() -> int:
    """Number of cores for this process's own threads: all that are available, or its share if it runs beside others."""
    return max(1, int(min(available_cpus(), _share)))


def set_own_cpus(cpus: float) -> None:
    """Limits `own_cpus` to this process's share of the machine: a trial's cores, or those of one of several processes."""
    global _share  # of the process, as torch's number of threads is
    _share = cpus


def _quotas(root: Path) -> Iterator[float]:
    """Cores that each of the cgroups allows that the process is in, of version 1 and 2."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / controllers
        group = group.strip("/")
        # A container may not see its own group, but only those from the top of its file system on.
        for folder in [top / group, *(top / group).parents][: 1 + len(Path(group).parts)]:
            names = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
            limits = " ".join(_text(folder / name) for name in names).split()
            if len(limits) == 2 and limits[0].isdigit():  # not `max` or -1
                yield int(limits[0]) / int(limits[1])


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
