"""Commands in the process of the tests, whose searches run on one Ray that stays: for tests that kill nothing.

Most of what a small search costs are the imports of its process and the start of its Ray. Both as a user has them:
tests/end_to_end/test_search.py.
"""

import contextlib
import io
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

# First: it sets what Ray and torch read when they are imported.
from search.cluster.ray_connection import LocalRay  # isort: skip

import ray

from search.cli import main
from tests.support.project import PROJECT

HOLDER = """
import sys
from search.cluster.ray_connection import LocalRay
with LocalRay() as here:
    here.wait()
    import ray
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""


class KeptRay:
    """A Ray in a process of its own, which ends with the context, or with the process of the tests.

    Between commands no Ray is connected, so that others can start theirs.
    """

    def __init__(self):
        self._holder, self._address = None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._holder:
            self._holder.communicate()

    def start(self):
        if self._holder is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._holder = subprocess.Popen([sys.executable, "-c", HOLDER], cwd=PROJECT, **pipes)

    def join(self):
        self.start()
        if not self._address:
            self._address = self._holder.stdout.readline().strip()
            assert self._address, "Ray did not start"
        with ThreadPoolExecutor(1) as thread:  # in the main one, Ray would handle SIGTERM from now on
            thread.submit(ray.init, self._address, log_to_driver=False, logging_level="CRITICAL").result()

    def thaw(self, *words, folder: Path) -> subprocess.CompletedProcess[str]:
        """What `thaw` in a process of its own would have answered."""
        out, err = io.StringIO(), io.StringIO()
        joined = {"start": lambda _: self.start(), "wait": lambda _: self.join(), "__exit__": lambda *_: ray.shutdown()}
        with (
            _as_before(folder),
            mock.patch.multiple(LocalRay, **joined),
            mock.patch.object(sys, "argv", ["thaw", *words]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as end:
                return subprocess.CompletedProcess(words, end.code or 0, out.getvalue(), err.getvalue())
        raise AssertionError("a command ends with an exit status")


@contextlib.contextmanager
def _as_before(folder: Path):
    """Runs in the folder; afterwards what Ray, Tune and the command leave in a process that is not theirs is as it was."""
    ctrl_c = signal.getsignal(signal.SIGINT)
    try:
        with (
            contextlib.chdir(folder),
            mock.patch.dict(os.environ),
            mock.patch.object(sys, "path", list(sys.path)),
            mock.patch.object(sys, "excepthook", sys.excepthook),
        ):
            yield
    finally:
        signal.signal(signal.SIGINT, ctrl_c)
        for name, module in list(
            sys.modules.items()
        ):  # the user's own networks: another folder has others of that name
            if Path(getattr(module, "__file__", None) or "/").parent == folder:
                del sys.modules[name]
