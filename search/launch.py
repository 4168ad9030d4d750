"""Runs a search: a config and a run folder become a Ray Tune run, which goes on from wherever the folder stands."""

from __future__ import annotations

from typing import Any

# First: it sets what Ray and torch read when they are imported.
from search.local_ray import local_ray, sigterm_as_ctrl_c  # isort: skip

import optuna
import ray
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig

from search.config import SearchConfig, longest_run
from search.progress import ProgressCallback, Tally
from search.resources_config import Resources
from search.rungs import rungs
from search.schedulers import build_scheduler
from search.searcher import StudySearcher
from search.source import InputError
from search.study import check_storage, judged_epochs, open_study, settle
from search.tensorboard import TensorBoardCallback
from search.warm_start import remember
from trainables.layout import RunLayout, replacing
from trainables.report import read_epochs
from trainables.tune_trainable import StagedUnfreezing


def run_search(config: SearchConfig, layout: RunLayout) -> bool:
    """Runs all trials that are still to be run. The folder must be `owned`.

    Returns:
        Whether the search is complete; False after Ctrl+C or SIGTERM, when calling this again later goes on with it.
    Raises:
        InputError: if no trial fits this machine, the study's database cannot be used, or there is nothing to start warm from.
    """
    remember(config, layout)
    if layout.config.exists():
        study = open_study(layout, config)
        settle(study, layout, config)
        if _remaining(config, study) == 0:
            return True
    else:
        check_storage(layout, config)
    share = _measured_share(config)
    with local_ray(), sigterm_as_ctrl_c():
        resources = _trial_resources(config.settings.resources, share)
        attempt = _begin_attempt(config, layout)
        study = open_study(layout, config)
        scheduler, longest = config.settings.scheduler, longest_run(config)
        tally = Tally.of_run(layout, config.settings.trials, config.recipe.train.metric)
        tuner = tune.Tuner(
            tune.with_resources(StagedUnfreezing, resources),
            tune_config=TuneConfig(
                num_samples=_remaining(config, study),
                search_alg=StudySearcher(
                    config, layout, study, attempt=attempt, rungs=rungs(scheduler, max_epochs=longest)
                ),
                scheduler=_scheduler(config, layout, study, max_epochs=longest),
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=RunConfig(
                name=f"attempt-{attempt}",
                storage_path=str(layout.ray),
                callbacks=[TensorBoardCallback(), ProgressCallback(config.name, tally)],
                # The run's folder holds our checkpoints: without any of its own, Ray starts a failed trial anew, and it goes on.
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                failure_config=FailureConfig(max_failures=config.settings.max_retries),
                verbose=0,
            ),
        )
        tuner.fit()
    return _remaining(config, study) == 0


def _begin_attempt(config: SearchConfig, layout: RunLayout) -> int:
    """Number of this start or resume. Workers that an earlier one left behind stop writing when they see it."""
    if not layout.config.exists():
        with replacing(layout.config) as file:
            file.write(config.to_yaml())
    attempt = layout.read_attempt() + 1
    with replacing(layout.attempt) as file:
        file.write(str(attempt))
    return attempt


def _remaining(config: SearchConfig, study: optuna.Study) -> int:
    ended = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    return max(0, config.settings.trials - ended)


def _measured_share(config: SearchConfig) -> float:
    if config.settings.resources.gpus != "auto":
        return 0.0
    from search.gpu_share import measured_gpu_share  # trains a stage or two

    return measured_gpu_share(config)


def _trial_resources(wanted: Resources, measured_share: float) -> dict[str, float]:
    there = ray.cluster_resources()
    gpus = measured_share if wanted.gpus == "auto" else wanted.gpus
    if gpus is None:
        gpus = min(1.0, there.get("GPU", 0.0))
    for name, key, count in (("cpus", "CPU", wanted.cpus), ("gpus", "GPU", gpus)):
        if count > there.get(key, 0.0):
            raise InputError(f"search.resources.{name}: {count:g} for a trial, but there are {there.get(key, 0.0):g}")
    return {"cpu": wanted.cpus, "gpu": gpus}


def _scheduler(config: SearchConfig, layout: RunLayout, study: optuna.Study, *, max_epochs: int) -> Any:
    trials = study.get_trials(deepcopy=False)
    records = {trial.number: read_epochs(layout.trial(trial.number).epochs) for trial in trials}
    return build_scheduler(
        config,
        max_epochs=max_epochs,
        ended={t.number: records[t.number] for t in trials if t.state.is_finished()},
        interrupted={t.number: judged_epochs(records[t.number], t) for t in trials if not t.state.is_finished()},
    )


def _trial_name(trial: Any) -> str:
    return f"{trial.config['number']:04d}"
