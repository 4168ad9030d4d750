"""What a run's numbers depend on beside its recipe."""

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
    """Versions of Python and the libraries that matter, and the commit of this code where it is a git checkout."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in _LIBRARIES:
        versions[name] = metadata.version(name)
    return {**versions, "commit": _commit()}


def environment(*, data_fingerprint: str, pretrained: str, device: str, cpu_threads: int) -> dict[str, Any]:
    """What is written beside a run and into an exported config."""
    return {
        "data_fingerprint": data_fingerprint,
        "pretrained_fingerprint": pretrained,
        "device": device,
        "cpu_threads": cpu_threads,
        **software(),
    }


def _commit() -> str | None:
    here = Path(__file__).parent
    if not (here.parent / ".git").exists():
        return None
    try:
        answer = subprocess.run(  # noqa: S603  fixed words
            ["git", "-C", str(here), "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
