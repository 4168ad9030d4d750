"""Measures the peak memory of a piece of work, in RAM and on the GPU."""

from __future__ import annotations

import resource
import sys
import threading
from pathlib import Path
from types import TracebackType

import torch

_STATM = Path("/proc/self/statm")  # Linux only; other systems report only the peak of the whole process
_EVERY_S = 0.005


class PeakMemory:
    """Samples memory while its block runs.

    ```python
    with PeakMemory(device) as peak:
        work()
    print(peak.ram_bytes, peak.gpu_bytes)
    ```
    """

    def __init__(self, device: torch.device):
        self._gpu = device if device.type == "cuda" else None
        self._ended = threading.Event()
        self.ram_bytes = 0
        """Peak RAM of this process, on top of what it used at the start; outside Linux, the rise of the process's overall peak."""
        self.gpu_bytes: int | None = None
        """Peak GPU memory of tensors; None on the CPU."""

    def __enter__(self) -> PeakMemory:
        self._start = self._highest = _resident_bytes()
        if self._gpu is not None:
            torch.cuda.reset_peak_memory_stats(self._gpu)
        # Sampled, because the system's own peak never falls: it may be the peak of something that ran before.
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._watch.join()
        self.ram_bytes = self._highest - self._start
        if self._gpu is not None:
            self.gpu_bytes = torch.cuda.max_memory_allocated(self._gpu)

    def _sample(self) -> None:
        while True:
            self._highest = max(self._highest, _resident_bytes())
            if self._ended.wait(_EVERY_S):
                self._highest = max(self._highest, _resident_bytes())
                return


def _resident_bytes() -> int:
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
