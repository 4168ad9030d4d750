"""Connects to Ray: starts it on this machine, or joins an existing cluster. Import this module before Ray, torch and
Optuna.

Ray itself is imported only when it is to start, which takes a second: mistakes in a search are reported before that.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from threading import Event, Thread
from typing import Self

# Set before Ray and torch are imported, here and in workers: idle threads sleep, and Ray neither sends usage statistics
# nor prints and writes what we show and write ourselves. Clusters require a token unless the user sets
# RAY_AUTH_MODE=disabled.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "token")
# Tune runs trials in an environment of its own, for which the processes that Ray starts in advance, one per core, are
# useless.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
# Our searcher limits the number of trials itself. If Tune had only one trial pending, Ray would keep only one of
# several workers that become free at once.
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000000")
# We handle SIGTERM ourselves, also while Ray starts in another thread: Ray's handler prints the stack and ends the
# process.
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
# Nobody reads Ray's snapshots of a search, and their cost grows with the number of trials. Ray writes one at the end
# anyway.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")

from search.cluster.check_reachable import check_reachable
from search.cluster.runtime_env import JOB, runtime_env
from search.config.address import AUTO, LOCAL
from search.config.yaml_source import InputError
from trainables.core.available_cpus import available_cpus


class LocalRay:
    """Ray on this machine, started in the background: it takes seconds, in which the caller can do other work.

    Use it as a context manager: on exit Ray is shut down, if it was started.
    """

    def __init__(self, cpus: int | None = None):
        """
        Args:
            cpus: cores that Ray may use; None: all that this process may use.
        """
        self._cpus = cpus
        self._started: Future[None] = Future()
        self._over = Event()
        self._holder = Thread(target=self._hold, daemon=True)

    def start(self) -> None:
        """Begins to start Ray, unless that was done before."""
        if self._holder.ident is None:
            import ray  # noqa: F401  not in the thread, where it would run beside the imports of this one

            self._holder.start()

    def wait(self) -> None:
        """Waits until Ray has started.

        Raises:
            InputError: if it cannot start.
        """
        self.start()
        try:
            self._started.result()
        except Exception as error:  # Ray raises what its processes run into
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            logs = f"{os.environ.get('RAY_TMPDIR', tempfile.gettempdir())}/ray/session_latest/logs"
            raise InputError(
                f"Ray cannot start on this machine: {reason.rstrip('.')}; try again if the machine was busy, else see {logs}"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._holder.ident is None:
            return
        import ray

        wait_for([self._started])
        ray.shutdown()
        self._over.set()
        self._holder.join()

    def _hold(self) -> None:
        """Starts Ray and stays until the end: Ray's processes die with the thread that started them."""
        import ray

        # Otherwise Ray warns that it cannot handle SIGTERM outside the main thread; we handle it.
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        try:
            with _needed_processes_only():
                ray.init(
                    address=LOCAL,
                    num_cpus=available_cpus() if self._cpus is None else self._cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="CRITICAL",
                )
        except BaseException as error:
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        self._over.wait()


@contextmanager
def _needed_processes_only() -> Iterator[None]:
    """Keeps Ray from starting processes for its dashboard, its autoscaler and the copying of workers' output to the
    driver.

    A search does not use them, and `ray.init` has no option for that: even with the dashboard off it waits for the
    dashboard's server.
    """
    import ray

    node = ray._private.node.Node
    names = ("start_api_server", "start_monitor", "start_log_monitor")
    # Private names of Ray. A version that names them differently starts these processes as usual.
    originals = {name: getattr(node, name) for name in names if hasattr(node, name)}
    for name in originals:
        setattr(node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, method in originals.items():
            setattr(node, name, method)


def place_of(address: str) -> str:
    """Place where a search with this `search.address` runs: in a job on a cluster, `local` means that cluster."""
    return AUTO if address == LOCAL and JOB in os.environ else address


@contextmanager
def connected(place: str, here: LocalRay, *, functions: Iterable[str] = ()) -> Iterator[None]:
    """Connects to Ray for the time of the context.

    Args:
        place: `local`, `auto` or `host:port`.
        here: Ray on this machine, for a search that stays here; it may have been started before, and is shut down
            afterwards.
        functions: the user's functions that trials call, as `module:function`; their code is sent to a cluster with
            ours.
    Raises:
        InputError: if there is no such cluster, or it rejects us.
    """
    if place == LOCAL:
        with here:
            here.wait()
            yield
        return
    import ray

    check_reachable(place)
    ray.init(address=place, runtime_env=runtime_env(functions), log_to_driver=False, logging_level="CRITICAL")
    try:
        yield
    finally:
        ray.shutdown()


def is_insecure() -> bool:
    """True if the user has disabled token authentication."""
    return os.environ["RAY_AUTH_MODE"] != "token"
