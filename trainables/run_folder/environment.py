"""Environment of a run: versions, commits and other facts its results depend on besides the recipe."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

_LIBRARIES = ("thaw-search", "torch", "torchvision", "numpy", "pillow", "optuna", "ray")


@lru_cache(maxsize=1)
def software() -> dict[str, str | None]:
    """Versions of Python and the relevant libraries, and the commit of this code if it is a git checkout."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in _LIBRARIES:
        versions[name] = metadata.version(name)
    here = Path(__file__).parents[2]
    return {**versions, "commit": _commit(here) if (here / ".git").exists() else None}


@lru_cache(maxsize=1)
def project_commit() -> str | None:
    """Commit of the user's own code: of the git checkout that holds the working directory; `…-dirty` if it has changes."""
    return _commit(Path.cwd())


def environment(
    *, data_fingerprint: str, split_fingerprint: str, pretrained: str, device: str, cpu_threads: int
) -> dict[str, Any]:
    """Returns the environment that is written to a run's folder and into an exported config.

    Args:
        data_fingerprint: fingerprint of the data set.
        split_fingerprint: fingerprint of its split.
        pretrained: fingerprint of the pretrained weights.
        device: type of the device, `cpu` or `cuda`.
        cpu_threads: number of threads on the CPU.
    """
    return {
        "data_fingerprint": data_fingerprint,
        "split_fingerprint": split_fingerprint,
        "pretrained_fingerprint": pretrained,
        "device": device,
        "cpu_threads": cpu_threads,
        **software(),
        "project_commit": project_commit(),
    }


def _commit(folder: Path) -> str | None:
    # fsmonitor is off, because the checkout's own settings could name a program to run for it.
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false"]
    command += ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603  fixed words
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
