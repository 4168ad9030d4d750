"""What a search's controller costs: trials that only sleep, on 16 simulated workers, against the time that they sleep.

    python benchmarks/controller.py [--trials 1000] [--workers 16] [--sampler random] [--scheduler none] [--profile FILE]

The real driver runs: Ray Tune, our searcher on Optuna's journal, scheduler, records, TensorBoard events, display. Only the trials
are made of sleep (sleeping_trainable.py), so that 16 of them fit on two cores. Ideal is trials × their sleep / workers. Printed:
wall time from the end of the first trials to that of the last one over ideal, also of each fifth of the search, which shows whether
it grows with the number of trials; the driver's CPU time, which other programs on the machine change little; and its memory.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import json
import os
import pstats
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path[0] = str(HERE.parent)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
)  # of workers
sys.path.insert(1, str(HERE))


def config(trials: int, sampler: str, scheduler: str, epochs: int) -> dict:
    stage = {"name": "head", "unfreeze_from": "head", "epochs": epochs, "plateau": None}
    asha = {"kind": "asha", "grace_epochs": 1, "reduction": 2}
    return {
        "data": {"source": "digits", "image_size": 32},
        "model": {"backbone": "efficientnet_lite0"},
        "train": {"stages": [stage], "early_stop": None},
        "space": {
            "train.stages[*].head_lr": {"log": [1e-3, 1e-1]},
            "train.stages[*].weight_decay": {"log": [1e-6, 1e-2]},
            "train.stages[*].dropout": {"float": [0.0, 0.5]},
            "train.loss.kind": {"choice": ["cross_entropy", "ldam"]},
            "train.loss.max_margin": {"float": [0.2, 0.8], "when": {"train.loss.kind": "ldam"}},
        },
        "search": {
            "name": "controller",
            "trials": trials,
            "sampler": {"kind": sampler},
            "scheduler": asha if scheduler == "asha" else {"kind": "none"},
        },
    }


class Sample(NamedTuple):
    """The driver when a trial has ended."""

    ended: int
    at_s: float
    cpu_s: float
    memory: int


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--scheduler", choices=["none", "asha"], default="none")
    parser.add_argument("--profile", type=Path, help="where the driver's profile is written; slows it down")
    args = parser.parse_args()
    from search.cluster import ray_connection
    from search.launch import run_search  # before Ray, which reads its settings when it is imported

    import sleeping_trainable  # isort: skip

    from search.config.yaml_source import read_source
    from search.config_file.load import load_search
    from trainables.run_folder.layout import RunLayout

    run_search.StagedUnfreezing = sleeping_trainable.Sleeping
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "controller.yaml"
        # JSON is YAML.
        file.write_text(json.dumps(config(args.trials, args.sampler, args.scheduler, sleeping_trainable.STEPS)))
        layout = RunLayout(Path(folder) / "run")
        samples: list[Sample] = []

        class Measured(run_search.ProgressCallback):
            def _end(self, trial: Any) -> None:
                super()._end(trial)
                samples.append(Sample(self._search_state.ended, time.monotonic(), time.process_time(), resident()))

        run_search.ProgressCallback = Measured
        profile = cProfile.Profile(time.process_time)
        if args.profile:
            profile.enable()
        here = ray_connection.LocalRay(args.workers)
        run_search.run_search(load_search(read_source(file, ())), layout, here=here)
        profile.disable()
    if args.profile:
        profile.dump_stats(args.profile)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    of_a_trial = sleeping_trainable.STEP_S * sleeping_trainable.STEPS / args.workers
    report(samples, args.workers, of_a_trial, pruned=args.scheduler != "none")


def report(samples: list[Sample], workers: int, of_a_trial: float, *, pruned: bool) -> None:
    # The first ones wait for their workers to start.
    marks = [
        samples[min(workers, len(samples) // 2) - 1],
        *(samples[len(samples) * part // 5 - 1] for part in range(1, 6)),
    ]
    print(f"{'trials':>8}{'s':>8}{'ms a trial':>12}{'over ideal':>12}{'CPU ms':>8}{'driver MiB':>12}")
    for before, after in [*itertools.pairwise(marks), (marks[0], marks[-1])]:
        count, took = after.ended - before.ended, after.at_s - before.at_s
        over = "–" if pruned else f"{took / (count * of_a_trial) - 1:.0%}"
        cpu = 1000 * (after.cpu_s - before.cpu_s) / count
        print(
            f"{after.ended:>8}{took:>8.1f}{1000 * took / count:>12.0f}{over:>12}{cpu:>8.0f}{after.memory / 2**20:>12.0f}"
        )
    grown = (marks[-1].memory - marks[1].memory) / (marks[-1].ended - marks[1].ended)
    print(f"the last line is the whole search; memory grows by {1000 * grown / 2**20:.0f} MiB with each 1,000 trials")


if __name__ == "__main__":
    main()
