"""How good staged unfreezing is on imbalanced data, beside plain fine-tuning: balanced accuracy on long-tailed Fashion-MNIST.

    python benchmarks/fashion_mnist.py [--data DIR] [--seeds 3] [--processes 2] [--quick]

Data: 1209 … 12 training images a class (imbalance 100), judged on 2,000 balanced ones, from Debian's `dataset-fashion-mnist` or any
folder with its IDX files. Network: the packaged ImageNet EfficientNet-Lite0 at 64 px. All methods train for 12 epochs with SGD
(momentum 0.9, batches of 64, a cosine in each stage), which costs plain fine-tuning several times the time of the others.

Each method first tries the four pairs of learning rates of its kind of head (`LEARNING_RATES`) on a seed of its own, and takes the
best one for the seeds that count. These draw other splits, long tails, heads and orders. What is printed is the balanced accuracy
of the *last* epoch, which nobody has chosen: mean ± standard deviation over the seeds. *Corrected* is what the same weights score
after the class shares of the training images are divided out of their predictions (post-hoc logit adjustment).
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

CHOOSING_SEED = 100
LEARNING_RATES = {
    "linear": [(0.003, 1.0), (0.01, 0.3), (0.01, 1.0), (0.03, 0.3)],
    "cosine": [(0.1, 0.1), (0.1, 0.3), (0.3, 0.03), (0.3, 0.1)],
}
"""Of the head, and of the open blocks as a multiple of it. LDAM's head of cosines takes ten times those of a linear one."""


class Method(NamedTuple):
    head: str
    """`linear` or `cosine`."""
    stages: Sequence[tuple[str, int]]
    """What is open in each, and for how many epochs."""
    loss: dict


AT_ONCE, STAGED = [("all", 12)], [("head", 4), ("last:3", 8)]
METHODS = {
    "plain fine-tuning, cross-entropy": Method("linear", AT_ONCE, {"loss": {"kind": "cross_entropy"}}),
    "staged, cross-entropy": Method("linear", STAGED, {"loss": {"kind": "cross_entropy"}}),
    "staged, LDAM-DRW": Method("cosine", STAGED, {"loss": {"kind": "ldam"}, "drw": {"start_fraction": 0.6}}),
    "staged, balanced softmax": Method("linear", STAGED, {"loss": {"kind": "balanced_softmax"}}),
}


class Job(NamedTuple):
    """One training run."""

    method: str
    head_lr: float
    ratio: float
    seed: int


class Scores(NamedTuple):
    """Of a run's last epoch."""

    balanced_accuracy: float
    corrected: float
    seconds: float
    """Of the whole run."""


def recipe_of(job: Job, data: str, *, quick: bool) -> dict:
    method = METHODS[job.method]
    return {
        "data": {
            "source": "idx",
            "path": data,
            "image_size": 64,
            "validation": 1 / 120 if quick else 1 / 30,
            "seed": job.seed,
            "long_tail": {"imbalance": 100, "largest": 200 if quick else 1209},
        },
        "model": {"backbone": "efficientnet_lite0"},
        "train": {
            "metric": "balanced_accuracy",
            "batch_size": 64,
            "optimizer": {"kind": "sgd"},
            "early_stop": None,
            "seed": job.seed,
            "stages": [
                {
                    "name": opened.replace(":", ""),
                    "unfreeze_from": opened,
                    "epochs": 1 if quick else epochs,
                    "plateau": None,
                    "head_lr": job.head_lr,
                    "backbone_lr_ratio": job.ratio,
                    "schedule": "cosine",
                    "backbone_warmup_epochs": 0 if quick else 1,
                    "head_frozen_epochs": 0,
                }
                for opened, epochs in method.stages
            ],
            **method.loss,
        },
    }


def run(job: Job, data: str, quick: bool) -> Scores:
    from trainables.data.dataset import open_dataset
    from trainables.recipe.recipe import parse_recipe
    from trainables.training.trainer import Trainer

    started = time.perf_counter()
    recipe = parse_recipe(recipe_of(job, data, quick=quick))
    *_, last = Trainer(recipe, open_dataset(recipe.data), sharing_runs=len(METHODS))
    corrected = last.metrics["corrected_balanced_accuracy"]
    return Scores(last.metrics["balanced_accuracy"], corrected, time.perf_counter() - started)


def finished(pool: ProcessPoolExecutor, jobs: Sequence[Job], options: argparse.Namespace) -> dict[Job, Scores]:
    """Runs jobs, and says so whenever one is done."""
    waiting = {pool.submit(run, job, options.data, options.quick): job for job in jobs}
    scores = {}
    for i, future in enumerate(as_completed(waiting), start=1):
        job = waiting[future]
        scores[job] = found = future.result()
        print(
            f"[{i:2}/{len(jobs)}] {job.method}, learning rate {job.head_lr:g} × {job.ratio:g}, seed {job.seed}: "
            f"{found.balanced_accuracy:.3f}, corrected {found.corrected:.3f}  ({found.seconds:.0f} s)",
            flush=True,
        )
    return scores


def best_rates(scores: dict[Job, Scores]) -> dict[str, Job]:
    """Each method's job with the best score; of cross-entropy, that is before its predictions are corrected."""
    ranked = sorted(scores, key=lambda job: scores[job].balanced_accuracy)
    return {job.method: job for job in ranked}


def table(scores: dict[Job, Scores]) -> Iterator[str]:
    yield "| method | learning rates | balanced accuracy | corrected | seconds a run |"
    yield "| --- | --- | --- | --- | --- |"
    for method, of_method in itertools.groupby(sorted(scores, key=order), key=lambda job: job.method):
        jobs = list(of_method)
        plain, corrected, seconds = zip(*(scores[job] for job in jobs), strict=True)
        rates = f"head {jobs[0].head_lr:g}, blocks {jobs[0].head_lr * jobs[0].ratio:g}"
        yield f"| {method} | {rates} | {spread(plain)} | {spread(corrected)} | {statistics.median(seconds):.0f} |"


def order(job: Job) -> tuple[int, int]:
    """As the methods stand above, the slowest first."""
    return list(METHODS).index(job.method), job.seed


def spread(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--processes", type=int, default=2, help="of one thread each")
    arguments.add_argument("--quick", action="store_true", help="few images and epochs: whether all runs, not how well")
    options = arguments.parse_args()
    started = time.perf_counter()
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        print("choosing learning rates")
        tries = [
            Job(name, lr, ratio, CHOOSING_SEED)
            for name, method in METHODS.items()
            for lr, ratio in LEARNING_RATES[method.head][: 1 if options.quick else None]
        ]
        chosen = best_rates(finished(pool, tries, options))
        print("the runs that count")
        jobs = [chosen[name]._replace(seed=seed) for name in METHODS for seed in range(options.seeds)]
        scores = finished(pool, jobs, options)
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes, {options.processes} processes\n")
    print("\n".join(table(scores)))


if __name__ == "__main__":
    main()
