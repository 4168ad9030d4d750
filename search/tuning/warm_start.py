"""`search.warm_start`: trials of earlier runs, for the sampler. They are not in this run's study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from optuna.samplers import NSGAIISampler
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from results_analysis import RunError, find_run, load
from results_analysis.runs.run import Run
from search.config.search_config import SearchConfig
from search.config.yaml_source import InputError
from search.tuning.enqueued_trials import UnfitError, point_of
from search.tuning.study import is_complete
from trainables.core.atomic_write import replacing
from trainables.core.config_errors import dotted
from trainables.core.printable import command_line
from trainables.core.vocabulary import Objective, TrialStatus
from trainables.run_folder.layout import RunFileError, RunLayout

_ENDED_WELL = {TrialStatus.FINISHED, TrialStatus.PRUNED, TrialStatus.INFEASIBLE}

Known = dict[str, Any]
"""Ended trial as in `known.json`: run, number, params (of the study), values, complete, epochs, excess."""


def write_known_trials(config: SearchConfig, layout: RunLayout) -> None:
    """Writes the trials of earlier runs into the run folder, once: they stay the same when the search is resumed.

    Raises:
        InputError: if there is no such run, or its scores are not comparable with this search's.
    """
    if layout.known.exists() or not config.settings.warm_start:
        return
    known = [trial for i in range(len(config.settings.warm_start)) for trial in _trials_of(i, config, layout)]
    if not known:
        raise InputError("search.warm_start: no trial of these runs has ended at a point that this space could draw")
    with replacing(layout.known) as file:
        json.dump(known, file, indent=1)


def runs_to_learn_from(config: SearchConfig, layout: RunLayout) -> list[Run]:
    """Earlier runs whose trials `write_known_trials` has yet to write; one that cannot be read is left to it to report."""
    found = []
    for name in () if layout.known.exists() else config.settings.warm_start:
        with suppress(RunError):
            found.append(load(find_run(name, layout.root.parent)))
    return found


def known_trials(config: SearchConfig, layout: RunLayout) -> list[FrozenTrial]:
    """Trials that `write_known_trials` wrote, for the samplers to learn from.

    Raises:
        RunFileError: if the file is damaged.
    """
    try:
        known: list[Known] = json.loads(layout.known.read_bytes()) if layout.known.exists() else []
        trials = [_frozen(trial, config) for trial in known]
    except (ValueError, LookupError, TypeError):
        raise RunFileError(f"{layout.known} is damaged; put a copy in its place") from None
    for position, trial in enumerate(trials):
        trial._trial_id = position - len(trials)
        # Samplers order trials by number: these are before the first, 0, and above -1, which means no trial to Optuna.
        trial.number = (position - len(trials)) / (len(trials) + 1)  # type: ignore[assignment]
    return trials


def _frozen(known: Known, config: SearchConfig) -> FrozenTrial:
    drawn = FixedTrial(known["params"])
    config.values_of(drawn)
    trial = create_trial(
        state=TrialState.COMPLETE if known["complete"] else TrialState.PRUNED,
        values=known["values"] if known["complete"] else None,
        params=drawn.params,
        distributions=drawn.distributions,
        intermediate_values={int(epoch): score for epoch, score in known["epochs"].items()},
        system_attrs={
            NSGAIISampler._get_generation_key(): 0,
            **{f"constraints:{name}": excess for name, excess in known["excess"].items()},
        },
    )
    if not known["complete"] and known["epochs"]:
        trial.value = trial.intermediate_values[max(trial.intermediate_values)]  # as Optuna does for pruned trials
    return trial


def _trials_of(position: int, config: SearchConfig, layout: RunLayout) -> Iterator[Known]:
    place = f"search.warm_start[{position}]"
    try:
        run = load(find_run(config.settings.warm_start[position], layout.root.parent))
        _check_comparable(run, config, place)
        for number in run.numbers:
            if known := _known(run, number, config):
                yield known
    except (RunError, RunFileError) as error:
        raise InputError(f"{place}: {error}") from None


def _check_comparable(run: Run, config: SearchConfig, place: str) -> None:
    advice = f"its best config can be tried here: search.enqueue: [{run.layout.best}], after {command_line('export', run.name)}"
    if run.metric is not config.recipe.train.metric:
        message = f"{run.name} was scored by {run.metric}, this search is scored by {config.recipe.train.metric}"
        raise InputError(f"{place}: {message}; {advice}")
    here = config.recipe.data.model_dump(mode="json")
    there = run.config.get("data") or {}
    if different := [key for key in here if here[key] != there.get(key, here[key])]:
        named = ", ".join(dotted(("data", key)) for key in different)
        raise InputError(f"{place}: {run.name} had other data ({named}), so its scores are not comparable; {advice}")


def _known(run: Run, number: int, config: SearchConfig) -> Known | None:
    """Trial for the sampler; None if it has not ended well, is not a point of this space, or lacks a goal of this
    search."""
    record = run.trial(number)
    reports = run.reports(number)
    if record.status not in _ENDED_WELL or not reports or reports[-1]["best_score"] is None:
        return None
    objectives = {Objective.SCORE.value: reports[-1]["best_score"], **record.objectives}
    try:
        point = point_of(run.recipe(number), config.space)
    except UnfitError:
        return None
    settings = config.settings
    if any(name not in objectives for name in config.goals):
        return None
    scores = {r["epoch"]: r["best_score"] for r in reports if r["best_score"] is not None}
    return {
        "run": run.name,
        "number": number,
        "params": config.space.parameters_of(point),
        "complete": is_complete(reports[-1]),
        "values": [objectives[name] for name in settings.objectives],
        "epochs": scores if len(settings.objectives) == 1 else {},
        "excess": {name: bound.excess(objectives[name]) for name, bound in settings.constraints.items()},
    }
