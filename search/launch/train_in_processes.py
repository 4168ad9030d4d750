"""`thaw train --workers N`: trains one run in several processes of Ray Train, each with its part of every batch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from threading import Thread
from typing import Any

# First: it sets what Ray and torch read when they are imported.
from search.cluster.ray_connection import LocalRay  # isort: skip

from ray.exceptions import RayActorError
from ray.train import RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Empty, Queue

from search.config.yaml_source import InputError
from search.launch.shown_run import ShownRun
from search.launch.sigterm import sigterm_as_ctrl_c
from trainables.core.available_cpus import available_cpus, set_own_cpus
from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.models.precision import device_of
from trainables.recipe.recipe import Recipe, parse_recipe
from trainables.run_folder.layout import RunFileError, TrialLayout
from trainables.training.memory_advice import TrainingMemoryError
from trainables.training.replicas import Processes
from trainables.training.trainer import ShowSteps, Trainer
from trainables.trial.training_run import TrainingRun

_PATIENCE_S = 24 * 3600
"""Seconds after which a process gives up waiting for the others: the first may compute cached features for hours."""
_STEPS_EVERY_S = 0.5
"""Seconds between two messages about the steps of an epoch."""


def train_in_processes(recipe: Recipe, folder: TrialLayout, shown: ShownRun, *, resume_from: str | None = None) -> None:
    """Trains a run, or resumes it. The folder must be `owned`.

    Args:
        recipe: recipe of the run.
        folder: folder of the run.
        shown: shows the run.
        resume_from: checkpoint to resume from, see `TrainingRun`.
    Raises:
        InputError: if a process was killed.
    """
    cpus = recipe.train.workers * recipe.train.cpu_threads
    with tempfile.TemporaryDirectory() as ray_folder, LocalRay(cpus) as here, sigterm_as_ctrl_c():
        here.wait()
        messages = Queue(actor_options={"num_cpus": 0})
        trainer = TorchTrainer(
            _work,
            train_loop_config={
                "recipe": recipe.model_dump(mode="json"),
                "folder": folder.root.absolute(),
                "messages": messages,
                "resume_from": resume_from,
                "shows_steps": shown.has_bar,
            },
            scaling_config=_scaling(recipe),
            torch_config=TorchConfig(timeout_s=_PATIENCE_S),
            run_config=RunConfig(storage_path=ray_folder, name="run"),
        )
        ended = _in_a_thread(trainer.fit)
        show: dict[str, Callable[..., None]] = {
            "done_before": shown.done_before,
            "steps": shown.steps,
            "epoch": shown.epoch,
        }
        while not (over := ended.done()) or not messages.empty():
            try:
                kind, *values = messages.get(timeout=None if over else 0.2)
            except Empty:
                continue
            show[kind](*values)
        _raise_cause(ended, folder)


def _scaling(recipe: Recipe) -> ScalingConfig:
    gpu = device_of(recipe).type == "cuda"
    each = {"CPU": float(recipe.train.cpu_threads), **({"GPU": 1.0} if gpu else {})}
    return ScalingConfig(num_workers=recipe.train.workers, use_gpu=gpu, resources_per_worker=each)


def _in_a_thread(fit: Callable[[], Any]) -> Future[None]:
    """Runs `fit` in a thread: in the main thread Ray would handle Ctrl+C itself and exit as if all had gone well."""
    ended: Future[None] = Future()

    def run() -> None:
        try:
            fit()
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    Thread(target=run, daemon=True).start()
    return ended


def _raise_cause(ended: Future[None], folder: TrialLayout) -> None:
    """Raises the error that stopped the processes, if there is one: all of them fail if one does."""
    error = ended.exception()
    failures = error.worker_failures if isinstance(error, WorkerGroupError) else {}
    for failure in failures.values():
        if isinstance(failure, ConfigError | RunFileError | OSError | TrainingMemoryError):
            raise failure from None
    for rank, failure in failures.items():
        if isinstance(getattr(failure, "health_check_failure", None), RayActorError):
            raise InputError(
                f"worker {rank} of {folder.root} was killed, or ran out of memory; the same command resumes the run"
            ) from None
    if error is not None:
        raise error


def _work(assignment: dict[str, Any]) -> None:
    """Work of one process: the first owns the run's folder, the others only compute."""
    replicas, recipe = Processes(), parse_recipe(assignment["recipe"])
    set_own_cpus(available_cpus() / replicas.count)  # to decode images; torch has threads of its own
    if replicas.rank:
        trainer = Trainer(recipe, open_dataset(recipe.data, image_sizes=recipe.image_sizes), replicas=replicas)
        if (state := replicas.from_first(None)) is not None:
            trainer.load_state_dict(state)
        for _ in trainer:
            pass
        return
    folder, messages = TrialLayout(assignment["folder"]), assignment["messages"]
    show_steps = _in_messages(messages) if assignment["shows_steps"] else None
    options = {"replicas": replicas, "resume_from": assignment["resume_from"], "show_steps": show_steps}
    with closing(TrainingRun(recipe, folder, **options)) as run:
        replicas.from_first(run.trainer.state_dict() if run.reports else None)
        messages.put(("done_before", run.reports))
        for report in run:
            messages.put(("epoch", report, run.reports))


def _in_messages(messages: Queue) -> ShowSteps:
    """Sends the progress within an epoch to the process that shows it, now and then."""
    due = 0.0

    def show_steps(epoch: int, done: int, total: int) -> None:
        nonlocal due
        if (now := time.monotonic()) >= due or done == total:
            due = now + _STEPS_EVERY_S
            messages.put(("steps", epoch, done, total))

    return show_steps
