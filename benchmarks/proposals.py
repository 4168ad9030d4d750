"""What a proposal costs: milliseconds a suggestion after so many ended trials, by sampler, and the driver's memory.

    python benchmarks/proposals.py [--trials 100 1000 10000] [--samplers tpe cma_es …] [--storage journal]

The searcher is the one that Ray drives, on a study in a file, with eight parameters and sixteen trials that run meanwhile.
`ask` is a suggestion, until the trial is handed out; `tell` the report and the end of a trial. Beside `tpe` its time is given
relative to Optuna's own `study.ask` in memory, measured in turn.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import optuna

from search.config.sampler import sampler_kinds
from search.config.search_config import SearchConfig, SearchSettings
from search.tuning.study_searcher import StudySearcher
from search.tuning.study_storage import open_study
from spaces import Space, parse_space
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.protocol import StepResult

RECIPE = {
    "data": {"source": "digits", "image_size": 32},
    "model": {"backbone": "efficientnet_lite0"},
    "train": {"stages": [{"name": "head", "unfreeze_from": "head", "epochs": 8}], "ema": {}, "loss": {"kind": "ldam"}},
}
NUMBERS = {
    "train.stages[*].head_lr": {"log": [1e-4, 1.0]},
    "train.stages[*].dropout": {"float": [0.0, 0.5]},
    "train.stages[*].weight_decay": {"log": [1e-6, 1e-2]},
    "train.loss.max_margin": {"float": [0.2, 0.8]},
    "train.loss.scale": {"float": [10, 40]},
    "train.ema.decay": {"one_minus_log": [0.9, 0.9999]},
    "train.clip_norm": {"log": [0.1, 10]},
    "train.batch_size": {"int_log": [8, 256]},
}
COUNTABLE = {path: {"choice": [1, 2, 3, 4]} for path in ("train.batch_size", "train.accumulate", "train.clip_norm")} | {
    "train.seed": {"int": [1, 200]}
}
ASKED = 7
"""Suggestions that are timed."""
SLOW = {"gp": 300}
"""Trials after which a sampler takes seconds: not measured above."""


def config_of(kind: str, space: dict[str, Any], *, storage: str) -> SearchConfig:
    settings = SearchSettings.model_validate({"trials": 10**6, "sampler": {"kind": kind}, "storage": storage})
    return SearchConfig("proposals", parse_recipe(RECIPE), parse_space(space), settings)


def fill(study: optuna.Study, space: Space, count: int) -> None:
    """Ended trials: one in three complete, with twelve epochs, the others pruned after three."""
    random = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    numbers = np.random.default_rng(0)
    for i in range(count):
        drawn = random.ask()
        space.suggest(drawn)
        scores = np.sort(numbers.random(12 if i % 3 == 0 else 3))
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if i % 3 == 0 else optuna.trial.TrialState.PRUNED,
                value=float(scores[-1]),
                params=drawn.params,
                distributions=drawn.distributions,
                intermediate_values=dict(enumerate(map(float, scores), start=1)),
            )
        )


def result(epoch: int, score: float) -> dict[str, Any]:
    last = epoch == 12
    return StepResult(epoch=epoch, best_score=score, finished=last, objectives=[score]).to_result()


def measure(kind: str, count: int, *, storage: str) -> dict[str, float]:
    config = config_of(kind, COUNTABLE if kind == "grid" else NUMBERS, storage=storage)
    with tempfile.TemporaryDirectory() as folder:
        layout = RunLayout(Path(folder))
        study = open_study(layout, config)
        fill(study, config.space, count)
        peer = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))
        peer.add_trials(study.get_trials(deepcopy=False) if kind == "tpe" else [])
        started = time.perf_counter()
        searcher = StudySearcher(config, layout, study, attempt=1)
        taken_up = time.perf_counter() - started
        for i in range(16):
            searcher.suggest(f"meanwhile {i}")
        asks, tells, peers = [], [], []
        for i in range(ASKED):
            began = time.perf_counter()
            searcher.suggest(str(i))
            asked = time.perf_counter()
            for epoch in range(1, 12):
                searcher.on_trial_result(str(i), result(epoch, epoch / 20))
            searcher.on_trial_complete(str(i), result(12, 0.6))
            tells.append((time.perf_counter() - asked) / 12)
            asks.append(asked - began)
            if kind == "tpe":
                began = time.perf_counter()
                config.space.suggest(peer.ask())
                peers.append(time.perf_counter() - began)
        times = {"ask": statistics.median(asks), "tell": statistics.median(tells), "take up": taken_up}
        if peers:
            times["ratio"] = statistics.median(ask / peer for ask, peer in zip(asks, peers, strict=True))
        return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000])
    kinds = sampler_kinds(lambda _spec: True)
    parser.add_argument("--samplers", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--storage", default="journal", choices=["journal", "sqlite"])
    options = parser.parse_args()
    print(
        f"{'sampler':8} {'trials':>7} {'ask ms':>8} {'tell ms':>8} {'take up s':>9} {'of study.ask':>12} {'peak MiB':>9}"
    )
    for count in options.trials:
        for kind in options.samplers:
            if count > SLOW.get(kind, count):
                continue
            times = measure(kind, count, storage=options.storage)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            ratio = f"{times['ratio']:.2f}" if "ratio" in times else ""
            print(
                f"{kind:8} {count:7,} {times['ask'] * 1e3:8.1f} {times['tell'] * 1e3:8.2f} {times['take up']:9.2f} "
                f"{ratio:>12} {peak:9.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
