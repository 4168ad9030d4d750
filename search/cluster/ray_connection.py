"""Connects to Ray: started on this machine, or a cluster that is there. Import it before Ray, torch and Optuna.

Ray itself is imported when it is to start, which takes a second: what is wrong with a search is said before.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from threading import Event, Thread
from typing import Self

# Before Ray and torch are imported, here or in a worker: idle threads shall sleep; Ray shall neither phone home nor print
# and write what we show and write ourselves. A cluster asks for a token, unless the user says RAY_AUTH_MODE=disabled.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "token")
# Tune starts trials in an environment of its own, for which the processes that Ray starts in advance, one a core, do not do.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
# Our searcher knows how many trials there is room for. Asked for one at a time, of workers that are free at once Ray keeps one.
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000000")
# SIGTERM is ours to handle, also while Ray starts in another thread: what it installs prints the stack and ends the process.
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
# Nobody reads Ray's snapshots of a search, whose cost grows with its trials; one in the end it makes anyway.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")

from search.cluster.check_reachable import check_reachable
from search.cluster.runtime_env import JOB, runtime_env
from search.config.address import AUTO, LOCAL


class LocalRay:
    """Ray on this machine. It takes seconds to start, most of them waiting, in which its caller can do something else.

    A context: in the end Ray is shut down, if it was started.
    """

    def __init__(self, cpus: int | None = None):
        """
        Args:
            cpus: cores to compute with; None: all that Ray finds.
        """
        self._cpus = cpus
        self._started: Future[None] = Future()
        self._over = Event()
        self._holder = Thread(target=self._hold, daemon=True)

    def start(self) -> None:
        """Begins to start it, if that has not been done."""
        if self._holder.ident is None:
            import ray  # noqa: F401  not in the thread, beside the imports of this one

            self._holder.start()

    def wait(self) -> None:
        """Until it has started.

        Raises:
            Exception: what kept Ray from starting.
        """
        self.start()
        self._started.result()

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
        """Ray's processes die with the thread that started them: it stays until they are to."""
        import ray

        # Else it says that it handles no SIGTERM outside the main thread: we do.
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        try:
            with _needed_processes_only():
                ray.init(
                    address=LOCAL,
                    num_cpus=self._cpus,
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
    """While Ray starts: it starts no processes for its dashboard, its autoscaler and its copy of workers' output to the driver.

    A search has no use for them, and `ray.init` has no switch: with the dashboard off it waits for its server all the same.
    """
    import ray

    node = ray._private.node.Node
    names = ("start_api_server", "start_monitor", "start_log_monitor")
    # Ray's own, which other versions may call otherwise: then they start what they start.
    kept = {name: getattr(node, name) for name in names if hasattr(node, name)}
    for name in kept:
        setattr(node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(node, name, method)


def place_of(address: str) -> str:
    """Where a search with this `search.address` runs: a job on a cluster stays on it."""
    return AUTO if address == LOCAL and JOB in os.environ else address


@contextmanager
def connected(place: str, here: LocalRay, *, functions: Iterable[str] = ()) -> Iterator[None]:
    """
    Args:
        place: `local`, `auto` or `host:port`.
        here: the Ray for a search that stays on this machine; it may have been started, and is over afterwards.
        functions: `module:function` of the user's that trials call; on a cluster their code travels with ours.
    Raises:
        InputError: if there is no such cluster, or it does not let us in.
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
    """Whether the user has waived tokens."""
    return os.environ["RAY_AUTH_MODE"] != "token"
