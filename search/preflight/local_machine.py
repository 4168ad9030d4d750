"""Cores, memory and GPUs that this process may use, without starting Ray."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from trainables.core.available_cpus import available_cpus

_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Cores, memory and GPUs of a machine."""

    cpus: int
    load: float
    """Cores that other programs kept busy over the last minute."""
    ram_bytes: int
    """RAM that is available now; all RAM if the system does not report that."""
    gpus: int
    gpu_bytes: int | None
    """Memory of the first GPU; None if there is none."""


def this_machine() -> Machine:
    """Reads what this machine has."""
    import torch

    gpus = torch.cuda.device_count()
    return Machine(
        cpus=available_cpus(),
        load=os.getloadavg()[0],
        ram_bytes=_free_ram(),
        gpus=gpus,
        gpu_bytes=torch.cuda.get_device_properties(0).total_memory if gpus else None,
    )


def _free_ram() -> int:
    if _MEMINFO.exists():
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
