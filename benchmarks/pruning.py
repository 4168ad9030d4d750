"""Which scheduler finds the best trial for the same compute: recorded learning curves, replayed through the scheduler that searches use.

    python benchmarks/pruning.py [--orders 500] [--workers 4] [--budgets 8 16 32]

`pruning_curves.py` has recorded every trial of a space to its end. Here they come to a search in random orders, each drawn with
replacement, and train on simulated workers that take up a new trial whenever one ends; a trial's epochs cost what the median epoch
with the same open blocks took. `search.schedulers.build_scheduler` decides after each epoch, as it does in `thaw search`.

What counts is regret: how far the best *finished* trial lies behind the best of the whole table once a budget is spent, in points of
balanced accuracy. A budget is counted in trials of mean length, so random search at 16 is the best of about 16 trials. All schedulers
meet the same orders; beside the mean stands its standard error, and last how often a scheduler came out better or worse than ASHA as
Ray documents it (rungs in epochs, raw scores).
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import json
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[0] = str(Path(__file__).parent.parent)  # this folder's search.py shall not hide the package

from search.rungs import Longest, rungs
from search.scheduler_config import Asha, Hyperband, Median, NoPruning, Scheduler
from search.schedulers import build_scheduler
from trainables.layout import Metric

TABLE = Path(__file__).parent / "data" / "pruning_curves.jsonl.gz"
METRIC = Metric.BALANCED_ACCURACY
REFERENCE = "ASHA, epochs, raw score"
SETTLING_EPOCHS = 3
"""First epochs of re-weighting that are not held against a trial."""


class Way(NamedTuple):
    """How a search prunes."""

    scheduler: Scheduler
    stops: bool = True
    """Whether a trial ends for `nan` and `collapse`."""


WAYS = {
    "none (random search)": Way(NoPruning(kind="none"), stops=False),
    "none, stop on collapse": Way(NoPruning(kind="none")),
    "ASHA, epochs from 1, raw score": Way(Asha(grace_epochs=1, before_drw="score")),
    REFERENCE: Way(Asha(before_drw="score"), stops=False),
    "the same, stop on collapse": Way(Asha(before_drw="score")),
    "ASHA, epochs, corrected": Way(Asha(before_drw="corrected")),
    "ASHA, epochs, wait": Way(Asha(before_drw="wait")),
    "ASHA, compute, raw score": Way(Asha(rungs="compute", before_drw="score")),
    "ASHA, compute, corrected": Way(Asha(rungs="compute")),
    "ASHA, compute, wait": Way(Asha(rungs="compute", before_drw="wait")),
    "ASHA, stages, raw score": Way(Asha(rungs="stages", before_drw="score")),
    "ASHA, stages, corrected": Way(Asha(rungs="stages")),
    "Hyperband, epochs, corrected": Way(Hyperband(kind="hyperband")),
    "Hyperband, compute, corrected": Way(Hyperband(kind="hyperband", rungs="compute")),
    "median, raw score": Way(Median(kind="median", before_drw="score")),
    "median, corrected": Way(Median(kind="median")),
}


class Curve(NamedTuple):
    """A recorded trial."""

    reports: list[dict[str, Any]]
    costs: list[float]
    """Seconds of each epoch."""
    stop: int
    """Epochs after which `nan` or `collapse` ends it; more than it has where neither does."""
    score: float
    """What it comes to."""


def read_curves(table: Path) -> list[Curve]:
    trials = [json.loads(line) for line in gzip.decompress(table.read_bytes()).decode().splitlines()]
    seconds: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        for epoch in trial["epochs"]:
            seconds[_opened(trial, epoch)].append(epoch["cpu_s"])
    cost = {opened: statistics.median(measured) for opened, measured in seconds.items()}
    return [_curve(trial, cost) for trial in trials]


def _opened(trial: dict[str, Any], epoch: dict[str, Any]) -> str:
    return str(trial["train"]["stages"][epoch["stage_index"]]["unfreeze_from"])


def _curve(trial: dict[str, Any], cost: dict[str, float]) -> Curve:
    reports, best, reweighted = [], METRIC.worst, 0
    for epoch in trial["epochs"]:
        reweighted += epoch["reweighted"]
        best = max(best, epoch["corrected_balanced_accuracy"])
        pending = "drw" in trial["train"] and reweighted <= SETTLING_EPOCHS
        reports.append({**epoch, "best_corrected": best, "drw_pending": pending})
    ends = (e["epoch"] for e in trial["epochs"] if "nan" in e["flags"] or ("collapse" in e["flags"] and e["settled"]))
    return Curve(
        reports,
        [cost[_opened(trial, epoch)] for epoch in trial["epochs"]],
        next(ends, len(reports) + 1),
        reports[-1]["best_score"],
    )


def play(way: Way, curves: Sequence[Curve], order: Sequence[int], *, workers: int, until: float) -> list[tuple[float, float]]:
    """A search: the moments at which trials finished, in seconds of all workers together, and what these came to."""
    longest = Longest(
        epochs=max(len(curve.reports) for curve in curves),
        stages=max(curve.reports[-1]["stage_index"] + 1 for curve in curves),
        compute=max(curve.reports[-1]["compute"] for curve in curves),
    )
    scheduler = build_scheduler(
        way.scheduler, rungs(way.scheduler, longest), metric=METRIC, seed=order[0], records={}
    )
    finished: list[tuple[float, float]] = []
    waiting = iter(enumerate(order))
    # When an epoch ends, whose it is, its curve, its position there.
    running: list[tuple[float, int, int, int]] = []

    def begin(now: float) -> None:
        number, chosen = next(waiting)
        heapq.heappush(running, (now + curves[chosen].costs[0], number, chosen, 0))

    for _ in range(workers):
        begin(0.0)
    while (now := running[0][0]) * workers <= until:
        _, number, chosen, i = heapq.heappop(running)
        curve, trial = curves[chosen], SimpleNamespace(config={"number": number}, trial_id=str(number))
        report = curve.reports[i]
        if report["finished"]:
            scheduler.on_trial_complete(None, trial, {"reports": [report]})
            finished.append((now * workers, curve.score))
            begin(now)
        elif way.stops and report["epoch"] >= curve.stop:
            scheduler.on_trial_complete(None, trial, {"reports": [report]})
            begin(now)
        elif scheduler.on_trial_result(None, trial, {"reports": [report]}) == scheduler.STOP:
            begin(now)
        else:
            heapq.heappush(running, (now + curve.costs[i + 1], number, chosen, i + 1))
    return finished


def regrets(name: str, orders: int, workers: int, budgets: Sequence[float], table: Path, ways: dict[str, Way] = WAYS) -> np.ndarray:
    """[orders, budgets] points of balanced accuracy behind the best of the table; 100 where nothing has finished."""
    curves = read_curves(table)
    mean = statistics.mean(sum(curve.costs) for curve in curves)
    found = np.empty((orders, len(budgets)))
    for i in range(orders):
        random = np.random.default_rng([7, i])
        there = random.permutation(len(curves))[: 2 * len(curves) // 3]
        order, best = random.choice(there, size=5_000).tolist(), max(curves[k].score for k in there)
        finished = play(ways[name], curves, order, workers=workers, until=max(budgets) * mean)
        for j, budget in enumerate(budgets):
            reached = [score for moment, score in finished if moment <= budget * mean]
            found[i, j] = 100 * (best - max(reached)) if reached else 100.0
    return found


def table_of(found: dict[str, np.ndarray], budgets: Sequence[float]) -> list[str]:
    heads = [f"{budget:g} trials" for budget in budgets]
    lines = [
        f"| scheduler | {' | '.join(heads)} | better / worse than {REFERENCE}, at {budgets[-1]:g} |",
        "| --- |" + " --- |" * (len(budgets) + 1),
    ]
    for name, values in found.items():
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        cells = [f"{m:.2f} ± {e:.2f}" for m, e in zip(values.mean(axis=0), error, strict=True)]
        difference = values[:, -1] - found[REFERENCE][:, -1]
        against = f"{(difference < -1e-9).mean():.0%} / {(difference > 1e-9).mean():.0%}"
        lines.append(f"| {name} | {' | '.join(cells)} | {against} |")
    return lines


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--orders", type=int, default=500)
    arguments.add_argument("--workers", type=int, default=4, help="simulated")
    arguments.add_argument("--budgets", type=float, nargs="+", default=[8, 16, 32], help="in trials of mean length")
    arguments.add_argument("--table", type=Path, default=TABLE)
    arguments.add_argument("--processes", type=int, default=2)
    options = arguments.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        asked = (options.orders, options.workers, options.budgets, options.table)
        futures = {name: pool.submit(regrets, name, *asked) for name in WAYS}
        found = {name: future.result() for name, future in futures.items()}
    print(f"{len(read_curves(options.table))} curves, {options.orders} orders, {options.workers} workers; regret in points\n")
    print("\n".join(table_of(found, options.budgets)))


if __name__ == "__main__":
    main()
