"""Records full-length learning curves for `pruning.py`: what every trial of a search would have come to, had nobody pruned it.

    python benchmarks/pruning_curves.py [--data DIR] [--trials 72] [--processes 2]

Each trial trains for 12 epochs on long-tailed Fashion-MNIST (300 … 6 images a class) with the packaged ImageNet EfficientNet-Lite0
at 32 px. Drawn at random: the loss (cross-entropy, balanced softmax, LDAM with deferred re-weighting), learning rates on both sides
of the cliff, and how stages open the network. No plateau ends a stage and no flag but `nan` a run. An epoch's cost is the processor
time it took, which other programs hardly move. The table is `benchmarks/data/pruning_curves.jsonl.gz`: one line a trial.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

TABLE = Path(__file__).parent / "data" / "pruning_curves.jsonl.gz"
PLANS = (
    (("head", 3), ("last:3", 4), ("last:5", 5)),
    (("head", 4), ("last:3", 8)),
    (("head", 2), ("last:1", 4), ("last:3", 6)),
    (("head", 6), ("last:5", 6)),
    (("head", 3), ("last:1", 9)),
)
KEPT = ("epoch", "stage_index", "stage_over", "reweighted", "finished", "flags", "score", "best_score", "compute")
"""Of each epoch's report; beside them the class-balanced metrics and what the epoch cost."""
METRICS = ("balanced_accuracy", "corrected_balanced_accuracy")


def recipe_of(number: int, data: str) -> dict[str, Any]:
    """Trial `number` of the space, as plain data."""
    random = np.random.default_rng([2026, number])
    kind = ("cross_entropy", "balanced_softmax", "ldam")[number % 3]
    plan = PLANS[random.integers(len(PLANS))]
    low, high = (0.03, 0.5) if kind == "ldam" else (0.001, 0.1)
    head_lr = float(np.exp(random.uniform(np.log(low), np.log(high))))
    ratio = float(np.exp(random.uniform(np.log(0.03), np.log(1.0))))
    schedule = str(random.choice(["constant", "cosine"]))
    stages = [
        {
            "name": f"{i}-{opened.replace(':', '')}",
            "unfreeze_from": opened,
            "epochs": epochs,
            "plateau": None,
            "head_lr": head_lr,
            "backbone_lr_ratio": ratio,
            "schedule": schedule,
            "backbone_warmup_epochs": 1,
            "head_frozen_epochs": 0,
        }
        for i, (opened, epochs) in enumerate(plan)
    ]
    drw = {"drw": {"start_fraction": float(random.uniform(0.4, 0.8))}} if kind == "ldam" else {}
    return {
        "data": {
            "source": "idx",
            "path": data,
            "image_size": 32,
            "validation": 1 / 60,
            "long_tail": {"imbalance": 50, "largest": 300},
        },
        "model": {"backbone": "efficientnet_lite0"},
        "train": {
            "metric": "balanced_accuracy",
            "batch_size": 32,
            "optimizer": {"kind": "sgd"},
            "early_stop": None,
            "seed": number,
            "stages": stages,
            "loss": {"kind": kind},
            **drw,
        },
    }


def run(number: int, data: str, trials: int) -> dict[str, Any]:
    """A trial's recipe and curve."""
    from trainables.data.dataset import open_dataset
    from trainables.recipe.recipe import parse_recipe
    from trainables.training.stage_plan import has_settled
    from trainables.training.trainer import Trainer

    recipe = parse_recipe(recipe_of(number, data))
    trainer = Trainer(recipe, open_dataset(recipe.data), sharing_runs=trials)
    epochs, before = [], time.process_time()
    for report in trainer:
        line = json.loads(report.to_json())
        kept = {key: line[key] for key in (*KEPT, *METRICS)}
        settled = has_settled(recipe, trainer.position)
        epochs.append({**kept, "settled": settled, "cpu_s": round(time.process_time() - before, 3)})
        before = time.process_time()
    return {"number": number, "train": recipe_of(number, data)["train"], "epochs": epochs}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    arguments.add_argument("--trials", type=int, default=72)
    arguments.add_argument("--processes", type=int, default=2, help="of one thread each")
    arguments.add_argument("--table", type=Path, default=TABLE)
    options = arguments.parse_args()
    if not Path(options.data).is_dir():
        raise SystemExit(f"{options.data} is no folder with Fashion-MNIST's IDX files; give one with --data")
    trials = []
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(run, number, options.data, options.trials) for number in range(options.trials)]
        for future in as_completed(waiting):
            trials.append(trial := future.result())
            last, kind = trial["epochs"][-1], trial["train"]["loss"]["kind"]
            cost = sum(epoch["cpu_s"] for epoch in trial["epochs"])
            print(f"[{len(trials)}/{options.trials}] {kind}: {last['best_score']:.3f}, {cost:.1f} s", flush=True)
    options.table.parent.mkdir(exist_ok=True)
    lines = [json.dumps(trial) + "\n" for trial in sorted(trials, key=lambda trial: trial["number"])]
    options.table.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


if __name__ == "__main__":
    main()
