"""Runs a search: starts a Ray Tune run from a config and a run folder, and resumes from whatever the folder contains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# First: it sets what Ray and torch read when they are imported.
from search.cluster.ray_connection import LocalRay, connected, is_insecure, place_of  # isort: skip

import optuna
import ray
from optuna.exceptions import StorageInternalError
from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, PlacementGroupFactory, RunConfig, Stopper, TuneConfig
from ray.tune.error import TuneError
from ray.tune.schedulers import TrialScheduler

from search.cluster.capacity import TrialSlots
from search.cluster.node_check import check_nodes
from search.cluster.trial_resources import alive, bundle_of, fits
from search.config.address import LOCAL
from search.config.rung_positions import rungs_of
from search.config.search_config import SearchConfig
from search.config.yaml_source import InputError
from search.launch.budget import Budget, BudgetCallback, BudgetStopper
from search.launch.failed_trials import SameFailure
from search.launch.sigterm import sigterm_as_ctrl_c
from search.progress.folder_watcher import Follower
from search.progress.ray_callback import ProgressCallback
from search.progress.search_state import SearchState
from search.progress.tensorboard_callback import TensorBoardCallback
from search.progress.terminal import Console
from search.progress.wandb_callback import WandbCallback
from search.run_folder.mirror import Mirror, MirrorCallback
from search.run_folder.status_file import Attempt, RunStatus, forget_stop, seconds
from search.tuning.schedulers import PopulationScheduler, RungScheduler, build_scheduler
from search.tuning.study import end_running, end_stopped_at_rungs, report_recorded_ends
from search.tuning.study_searcher import StudySearcher
from search.tuning.study_storage import as_os_error, check_storage, open_study, repair_journal
from search.tuning.warm_start import write_known_trials
from trainables.core.atomic_write import replacing
from trainables.core.rungs import Rungs
from trainables.recipe.backbone_catalog import is_custom
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.protocol import TrialAssignment
from trainables.run_folder.trial_record import Parent, read_record
from trainables.trial.tune_trainable import StagedUnfreezing


def run_search(
    config: SearchConfig, layout: RunLayout, mirror: Mirror | None = None, *, here: LocalRay | None = None
) -> bool:
    """Runs all remaining trials. The folder must be `owned`.

    Args:
        config: the search.
        layout: its run folder.
        mirror: copy of the run, updated when a trial ends.
        here: Ray on this machine, which may have been started before.
    Returns:
        True if the search is complete; False after Ctrl+C or SIGTERM: calling this again resumes it.
    Raises:
        InputError: if there is no such cluster or a trial cannot run on it, if the study's database cannot be used, if
            no earlier trial fits a warm start, or if all trials fail for one reason.
    """
    forget_stop(layout)
    repair_journal(layout)
    write_known_trials(config, layout)
    rung_positions = rungs_of(config)
    study = _settled_study(config, layout, rung_positions)
    if study and (_remaining(config, study) == 0 or _is_over(config, Budget(config, layout, study), study, layout)):
        return True
    place = place_of(config.settings.address)
    share = _measured_share(config, place)
    backbones = {recipe.model.backbone for recipe in config.corner_recipes()}
    with connected(place, here or LocalRay(), functions=filter(is_custom, backbones)), sigterm_as_ctrl_c():
        resources, processes = _checked_resources(config, layout, share, place), config.recipe.train.workers
        attempt = _begin_attempt(config, layout)
        study = study or open_study(layout, config)
        budget = Budget(config, layout, study)
        driver = Attempt(layout, RunStatus(attempt=attempt, trials=config.settings.trials, rungs=rung_positions))
        search_state = _search_state(config, layout, driver.status)
        slots = TrialSlots(
            resources,
            processes=processes,
            running=lambda: len(search_state.running),
            waiting=0 if place == LOCAL else 1,
        )
        scheduler = _scheduler(config, layout, study, rung_positions)
        population = scheduler.population if isinstance(scheduler, PopulationScheduler) else None
        searcher = StudySearcher(
            config, layout, study, attempt=attempt, rungs=rung_positions, slots=slots, population=population
        )
        callbacks = [
            TensorBoardCallback(layout.trials, config.space.parameters, config.recipe.train.metric),
            ProgressCallback(config.name, search_state, driver),
            BudgetCallback(budget),
            failure := SameFailure(),
            *([MirrorCallback(mirror)] if mirror else []),
            *([WandbCallback(config.settings.wandb, config.name, layout.root)] if config.settings.wandb else []),
        ]
        tuner = tune.Tuner(
            tune.with_resources(StagedUnfreezing, PlacementGroupFactory([resources] * processes)),
            tune_config=_tune_config(searcher, scheduler, trials=_remaining(config, study)),
            run_config=_run_config(config, layout, attempt, BudgetStopper(budget, failure), callbacks),
        )
        with driver.recorded(), _storage_errors():
            tuner.fit()
            budget.save()
            if failure.found:
                raise InputError(failure.found)
            driver.complete = _is_over(config, budget, study, layout) or _remaining(config, study) == 0
    return driver.complete


def _settled_study(config: SearchConfig, layout: RunLayout, rung_positions: Rungs) -> optuna.Study | None:
    """Study of a run that has been started before, up to date with the trials' records; None before the first start."""
    if not layout.config.exists():
        check_storage(layout, config)
        return None
    study = open_study(layout, config)
    report_recorded_ends(study, layout, config)
    scheduler = _scheduler(config, layout, study, rung_positions)
    if isinstance(scheduler, RungScheduler):
        end_stopped_at_rungs(study, layout, config, scheduler.stopped)
    return study


def _tune_config(searcher: StudySearcher, scheduler: TrialScheduler, *, trials: int) -> TuneConfig:
    return TuneConfig(
        num_samples=trials,
        search_alg=searcher,
        scheduler=scheduler,
        reuse_actors=True,
        trial_name_creator=_trial_name,
        trial_dirname_creator=_trial_name,
    )


def _run_config(
    config: SearchConfig, layout: RunLayout, attempt: int, stop: Stopper, callbacks: Sequence[Callback]
) -> RunConfig:
    return RunConfig(
        name=f"attempt-{attempt}",
        storage_path=str(layout.ray),
        stop=stop,
        callbacks=list(callbacks),
        # The run folder has our checkpoints: without any of its own, Ray starts a failed trial from scratch, and it resumes
        # from ours.
        checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
        failure_config=FailureConfig(max_failures=config.settings.max_retries),
        verbose=0,
    )


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Raises storage errors of callbacks and the searcher as they were: Ray wraps them as text in an error of its own."""
    try:
        yield
    except TuneError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        if isinstance(error.__context__, StorageInternalError):
            raise as_os_error(error.__context__) from None
        raise


def _is_over(config: SearchConfig, budget: Budget, study: optuna.Study, layout: RunLayout) -> bool:
    """True if a budget is used up; then the trials that were running are pruned."""
    if budget.reached is None:
        return False
    end_running(study, layout, config, f"budget: {budget.reached}")
    Console().out(f"The search is over: {budget.reached} (search.stop).", highlight=False)
    return True


def _begin_attempt(config: SearchConfig, layout: RunLayout) -> int:
    """Starts an attempt (a start or a resume) and returns its number. Workers left over from an earlier attempt stop
    writing when they see it."""
    if not layout.config.exists():
        with replacing(layout.config) as file:
            file.write(config.to_yaml())
    attempt = layout.read_attempt() + 1
    with replacing(layout.attempt) as file:
        file.write(str(attempt))
    return attempt


def _search_state(config: SearchConfig, layout: RunLayout, status: RunStatus) -> SearchState:
    """State of the search after earlier attempts."""
    search_state = SearchState(
        status.trials, config.recipe.train.metric, started=seconds(status.started), rungs=status.rungs
    )
    Follower(layout, search_state).update()
    search_state.running.clear()  # no trial has been resumed yet
    return search_state


def _remaining(config: SearchConfig, study: optuna.Study) -> int:
    ended = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    return max(0, config.settings.trials - ended)


def _measured_share(config: SearchConfig, place: str) -> float | None:
    """GPUs of a trial; None: decided by what the nodes have."""
    gpus = config.settings.resources.gpus
    if gpus != "auto":
        return gpus
    if place != LOCAL:
        raise InputError(
            "search.resources.gpus: auto measures on this machine; give a number for a search on a cluster"
        )
    from search.preflight.gpu_share import measured_gpu_share  # trains a stage or two

    return measured_gpu_share(config)


def _checked_resources(config: SearchConfig, layout: RunLayout, gpus: float | None, place: str) -> dict[str, float]:
    """Resources of each process of a trial, after a check of the nodes that have them."""
    nodes = alive(ray.nodes())
    amounts = [node["Resources"] for node in nodes]
    resources = bundle_of(config.settings.resources, amounts, gpus=gpus, processes=config.recipe.train.workers)
    if place != LOCAL:
        check_nodes(
            config, layout, [node for node in nodes if fits(resources, node["Resources"])], token=not is_insecure()
        )
        if is_insecure():
            Console(stderr=True).out(f"warning: {place} runs without token authentication", highlight=False)
    return resources


def _scheduler(config: SearchConfig, layout: RunLayout, study: optuna.Study, rung_positions: Rungs) -> TrialScheduler:
    trials = study.get_trials(deepcopy=False)
    return build_scheduler(
        config.settings.scheduler,
        rung_positions,
        metric=config.recipe.train.metric,
        seed=config.settings.seed,
        records={trial.number: read_epochs(layout.trial(trial.number).epochs) for trial in trials},
        parents=_parents(layout),
    )


def _parents(layout: RunLayout) -> dict[int, Parent]:
    """Parents of the trials that started from another trial, by number.

    Raises:
        InputError: if the folder of a parent is missing.
    """
    records = [read_record(folder) for folder in layout.all_trials() if folder.trial.exists()]
    parents = {record.number: record.parent for record in records if record.parent}
    present = {record.number for record in records}
    for number, parent in parents.items():
        if parent.trial not in present:
            raise InputError(
                f"{layout.root} lacks the folder of trial {parent.trial}, from which trial {number} started; "
                "put a copy in its place"
            )
    return parents


def _trial_name(trial: Any) -> str:
    return TrialAssignment.of_config(trial.config).folder.root.name
