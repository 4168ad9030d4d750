"""`TrialProcesses`: the other processes of a trial that several train together (`train.workers`), each on its part of every batch.

The trial's own process is the first, and owns its folder. The others are actors in the same placement group, which only compute.
They end with it, and stay for its next trial, with their data and libraries loaded.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import ray
import torch.distributed as dist
from ray.exceptions import RayActorError, RayTaskError
from torch._C._distributed_c10d import TCPStore

from trainables.core.available_cpus import set_own_cpus
from trainables.data.dataset import open_dataset
from trainables.models.precision import device_of
from trainables.recipe.recipe import Recipe, parse_recipe
from trainables.training.replicas import Processes
from trainables.training.trainer import Trainer
from trainables.trial.training_run import TrainingRun

logger = logging.getLogger(__name__)

PATIENCE = timedelta(hours=24)
"""Time after which a process gives up waiting for the others: the first may compute cached features for hours."""
_FAILED_TOGETHER_S = 10.0
"""Seconds to wait for the failure of another process, once this one has lost its connection to it."""
_ALONE_S = 20.0
"""Seconds after which a process ends that still waits for another, although that has failed."""


class TrialProcesses:
    """Processes that train a trial together with this one."""

    def __init__(self, bundles: Sequence[Mapping[str, float]]):
        """Starts the other processes.

        Args:
            bundles: resources of each, by Ray's names.
        """
        self._others = [_started(bundle) for bundle in bundles]
        self._store: TCPStore | None = None

    def open(self, recipe: Recipe, open_run: Callable[[Processes], TrainingRun]) -> TrainingRun:
        """Connects the processes, and opens a run that they train together.

        Args:
            recipe: recipe of the run.
            open_run: opens the run in this process, which owns its folder.
        """
        host, count = ray.util.get_node_ip_address(), len(self._others) + 1
        self._store = TCPStore(host, 0, count, is_master=True, wait_for_workers=False)
        recipe_json, port = recipe.model_dump_json(), self._store.port
        opening = [other.open.remote(recipe_json, host, port, rank) for rank, other in enumerate(self._others, 1)]
        with _others_too(opening):
            replicas = _joined(recipe, self._store, rank=0)
            run = open_run(replicas)
            replicas.from_first(run.trainer.state_dict() if run.reports else None)
        return run

    def next_epoch(self, run: TrainingRun) -> None:
        """Trains the next epoch of a run in all processes; does nothing if the run is over."""
        with _others_too([other.next_epoch.remote() for other in self._others]):
            next(run, None)

    def close(self) -> None:
        """Disconnects the processes after a run."""
        if self._store is not None:
            with _others_too([other.close.remote() for other in self._others]):
                _leave()
            self._store = None


class OtherProcess:
    """Process of a trial that only computes."""

    def open(self, recipe_json: str, host: str, port: int, rank: int) -> None:
        """Joins the other processes of a run, and gets its state.

        Args:
            recipe_json: recipe of the run.
            host, port: address of the first process's store.
            rank: rank of this process, from 1 on.
        """
        recipe = parse_recipe(json.loads(recipe_json))
        set_own_cpus(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))
        self._store = TCPStore(host, port, recipe.train.workers, is_master=False)
        with _left_if_failed():
            replicas = _joined(recipe, self._store, rank=rank)
            data = open_dataset(recipe.data, image_sizes=recipe.image_sizes)
            self._trainer: Trainer | None = Trainer(recipe, data, replicas=replicas)
            if (state := replicas.from_first(None)) is not None:
                self._trainer.load_state_dict(state)

    def next_epoch(self) -> None:
        """Trains this process's part of an epoch."""
        assert self._trainer is not None
        with _left_if_failed():
            next(self._trainer, None)

    def close(self) -> None:
        """Leaves the run."""
        self._trainer = None
        _leave()


def _started(bundle: Mapping[str, float]) -> Any:
    custom = {name: amount for name, amount in bundle.items() if name not in {"CPU", "GPU", "memory"}}
    resources = {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0), "memory": bundle.get("memory", 0)}
    return ray.remote(OtherProcess).options(**resources, resources=custom).remote()


def _joined(recipe: Recipe, store: TCPStore, *, rank: int) -> Processes:
    backend = "nccl" if device_of(recipe).type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=recipe.train.workers, timeout=PATIENCE)
    return Processes()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _left_if_failed() -> Iterator[None]:
    """Disconnects this process if its work fails: the others would wait for it."""
    try:
        yield
    except BaseException:
        _leave()
        raise


@contextmanager
def _others_too(work: Sequence[Any]) -> Iterator[None]:
    """Waits at the end of the block for the same work of other processes. If one of them fails, the block does, too, and the error
    is theirs: here it is only a lost connection."""
    over = Event()
    Thread(target=_end_if_alone, args=(work, over), daemon=True).start()
    try:
        yield
    except Exception:
        done, _ = ray.wait(list(work), num_returns=len(work), timeout=_FAILED_TOGETHER_S)
        for each in done:
            try:
                ray.get(each)
            except (RayTaskError, RayActorError) as error:
                raise error from None
        raise
    finally:
        over.set()
    ray.get(list(work))


def _end_if_alone(work: Sequence[Any], over: Event) -> None:
    """Ends this process if another has failed, and this one waits for it all the same: before they are connected, and on GPUs, a
    lost connection is not noticed.

    Args:
        work: work of the others.
        over: set when this process is done with its own.
    """
    left = list(work)
    while left:
        done, left = ray.wait(left)
        try:
            ray.get(done)
        except (RayTaskError, RayActorError) as error:
            if not over.wait(_ALONE_S):
                logger.error("another process of this trial failed: %s", error)
                os._exit(1)  # nothing else ends a thread that waits in NCCL; every epoch is on disk
            return
