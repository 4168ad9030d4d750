"""Which scheduler finds the best trial for the same compute: recorded curves, replayed through the scheduler that searches use.

    python benchmarks/pruning.py [--orders 500] [--workers 4] [--processes 2]

`pruning_curves.py` has recorded every trial of a space to its end. Here they come to a search one after the other, and train on
simulated workers that take up a new trial whenever one ends; a trial's epochs cost what the median epoch with the same open blocks
took. `search.schedulers.build_scheduler` decides after each epoch, as it does in `thaw search`. Each order has two thirds of the
table, drawn at random, and draws its trials from them with replacement: no single lucky trial decides.

What counts is regret: how far the best *finished* trial lies behind the best there is once a budget is spent, in points of balanced
accuracy. A budget is counted in trials of mean length, so random search at 16 is the best of about 16 trials. All schedulers meet
the same orders; beside the mean stands its standard error. "Better / worse" counts orders, at 16 trials, against ASHA on raw scores
with rungs at 4 and 12 epochs. Three spaces: all losses, LDAM-DRW alone, and those without re-weighting.
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import itertools
import json
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[0] = str(Path(__file__).parent.parent)  # this folder's search.py shall not hide the package

from search.config.scheduler import Asha, Hyperband, Median, NoPruning, Scheduler  # noqa: E402
from search.tuning.schedulers import build_scheduler  # noqa: E402
from trainables.core.vocabulary import Metric  # noqa: E402
from trainables.run_folder.protocol import TrialAssignment  # noqa: E402

TABLE = Path(__file__).parent / "data" / "pruning_curves.jsonl.gz"
METRIC = Metric.BALANCED_ACCURACY
SETTLING_EPOCHS = 3
"""First epochs of re-weighting that are not held against a trial."""
SPACES = {
    "all": {"cross_entropy", "balanced_softmax", "ldam"},
    "LDAM-DRW": {"ldam"},
    "others": {"cross_entropy", "balanced_softmax"},
}
BUDGETS = {"all": (8, 16, 32), "LDAM-DRW": (16,), "others": (16,)}
"""In trials of mean length."""
REFERENCE = "ASHA, epochs (4, 12), score"

_EPOCHS = {"rungs": "epochs", "reduction": 3}
WAYS: dict[str, Scheduler] = {
    "none: random search": NoPruning(kind="none"),
    REFERENCE: Asha(**_EPOCHS, before_drw="score"),
    "ASHA, epochs (4, 12), corrected": Asha(**_EPOCHS),
    "ASHA, epochs (4, 12), wait": Asha(**_EPOCHS, before_drw="wait"),
    "ASHA, epochs (1, 4), score: Ray's own": Asha(rungs="epochs", grace_epochs=1, reduction=4, before_drw="score"),
    "ASHA, compute, score": Asha(rungs="compute", before_drw="score"),
    "ASHA, compute, corrected": Asha(rungs="compute"),
    "ASHA, compute, wait": Asha(rungs="compute", before_drw="wait"),
    "ASHA, stages, score": Asha(before_drw="score"),
    "**ASHA, stages, corrected: the default**": Asha(),
    "ASHA, stages, wait": Asha(before_drw="wait"),
    "Hyperband, epochs (1, 3, 9), score": Hyperband(kind="hyperband", grace_epochs=1, before_drw="score"),
    "Hyperband, epochs (1, 3, 9), corrected": Hyperband(kind="hyperband", grace_epochs=1),
    "median, score": Median(kind="median", before_drw="score"),
    "median, corrected": Median(kind="median"),
}


Finished = list[tuple[float, float]]
"""When trials finished, in seconds of all workers together, and what they came to."""
Regrets = npt.NDArray[np.float64]


class Curve(NamedTuple):
    """A recorded trial."""

    reports: list[dict[str, Any]]
    costs: list[float]
    """Seconds of each epoch."""
    score: float
    """What it comes to."""


def read_curves(table: Path, space: str) -> list[Curve]:
    """The recorded trials of a space."""
    trials = [json.loads(line) for line in gzip.decompress(table.read_bytes()).decode().splitlines()]
    seconds: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        for epoch in trial["epochs"]:
            seconds[_opened(trial, epoch)].append(epoch["cpu_s"])
    cost = {opened: statistics.median(measured) for opened, measured in seconds.items()}
    return [_curve(trial, cost) for trial in trials if trial["train"]["loss"]["kind"] in SPACES[space]]


def _opened(trial: dict[str, Any], epoch: dict[str, Any]) -> str:
    return str(trial["train"]["stages"][epoch["stage_index"]]["unfreeze_from"])


def _curve(trial: dict[str, Any], cost: dict[str, float]) -> Curve:
    """A trial with what its reports say now and the table did not keep."""
    reports, best, reweighted = [], METRIC.worst, 0
    for epoch in trial["epochs"]:
        reweighted += epoch["reweighted"]
        best = max(best, epoch["corrected_balanced_accuracy"])
        pending = "drw" in trial["train"] and reweighted <= SETTLING_EPOCHS
        share = epoch["compute"] / trial["epochs"][-1]["compute"]
        reports.append({**epoch, "best_corrected": best, "drw_pending": pending, "compute_share": share})
    return Curve(reports, [cost[_opened(trial, epoch)] for epoch in reports], reports[-1]["best_score"])


def play(settings: Scheduler, curves: Sequence[Curve], order: Sequence[int], *, workers: int, until: float) -> Finished:
    """A search.

    Args:
        order: positions of curves, as trials take them.
        until: seconds of all workers together.
    """
    where = settings.place_rungs(
        epochs=max(len(curve.reports) for curve in curves),
        stages=max(curve.reports[-1]["stage_index"] + 1 for curve in curves),
    )
    scheduler = build_scheduler(settings, where, metric=METRIC, seed=order[0], records={})
    assignment = TrialAssignment(run="", number=0, attempt=1, recipe="{}", trials=len(order))
    finished: Finished = []
    numbers = iter(range(len(order)))
    # When an epoch ends, whose it is, and its position in the trial's curve.
    running = [(curves[order[n]].costs[0], n, 0) for n in itertools.islice(numbers, workers)]
    heapq.heapify(running)
    while (now := running[0][0]) * workers <= until:
        _, number, i = heapq.heappop(running)
        curve = curves[order[number]]
        trial = SimpleNamespace(config=replace(assignment, number=number).to_config())
        result = {"reports": [curve.reports[i]]}
        if curve.reports[i]["finished"]:
            scheduler.on_trial_complete(None, trial, result)
            finished.append((now * workers, curve.score))
        elif scheduler.on_trial_result(None, trial, result) == scheduler.CONTINUE:
            heapq.heappush(running, (now + curve.costs[i + 1], number, i + 1))
            continue
        following = next(numbers)
        heapq.heappush(running, (now + curves[order[following]].costs[0], following, 0))
    return finished


def regrets(name: str, space: str, orders: int, workers: int, table: Path) -> Regrets:
    """[orders, budgets] points of balanced accuracy behind the best there is; the worst stands in where nothing finished."""
    curves, budgets = read_curves(table, space), BUDGETS[space]
    mean = statistics.mean(sum(curve.costs) for curve in curves)
    found = np.empty((orders, len(budgets)))
    for i in range(orders):
        random = np.random.default_rng([7, i])
        there = random.permutation(len(curves))[: 2 * len(curves) // 3]
        order, scores = random.choice(there, size=5_000).tolist(), [curves[k].score for k in there]
        finished = play(WAYS[name], curves, order, workers=workers, until=max(budgets) * mean)
        for j, budget in enumerate(budgets):
            reached = [score for moment, score in finished if moment <= budget * mean]
            found[i, j] = 100 * (max(scores) - max(reached, default=min(scores)))
    return found


def table_of(found: dict[tuple[str, str], Regrets]) -> Iterator[str]:
    heads = [f"{space}, {budget}" for space, budgets in BUDGETS.items() for budget in budgets]
    yield f"| scheduler | {' | '.join(heads)} | better / worse |"
    yield "| --- |" + " --- |" * (len(heads) + 1)
    at = BUDGETS["all"].index(16)
    for name in WAYS:
        columns = np.hstack([found[name, space] for space in SPACES])
        errors = columns.std(axis=0, ddof=1) / np.sqrt(len(columns))
        cells = [f"{mean:.2f} ± {error:.2f}" for mean, error in zip(columns.mean(axis=0), errors, strict=True)]
        difference = found[name, "all"][:, at] - found[REFERENCE, "all"][:, at]
        against = f"{(difference < -1e-9).mean():.0%} / {(difference > 1e-9).mean():.0%}"
        yield f"| {name} | {' | '.join(cells)} | {against} |"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--orders", type=int, default=500)
    arguments.add_argument("--workers", type=int, default=4, help="simulated")
    arguments.add_argument("--table", type=Path, default=TABLE)
    arguments.add_argument("--processes", type=int, default=2)
    options = arguments.parse_args()
    asked = (options.orders, options.workers, options.table)
    with ProcessPoolExecutor(options.processes) as pool:
        futures = {(name, space): pool.submit(regrets, name, space, *asked) for name in WAYS for space in SPACES}
        found = {key: future.result() for key, future in futures.items()}
    count = len(read_curves(options.table, "all"))
    print(
        f"{count} curves, {options.orders} orders, {options.workers} workers; regret in points of balanced accuracy\n"
    )
    print("\n".join(table_of(found)))


if __name__ == "__main__":
    main()
