"""What a search's controller costs: trials that only sleep, on 16 simulated workers, against the time that they sleep.

    python benchmarks/controller.py [--trials 1000] [--workers 16] [--sampler random] [--scheduler none] [--profile FILE]

The real driver runs: Ray Tune, our searcher on Optuna's journal, scheduler, records, TensorBoard events, display. Only the trials are
made of sleep (sleeping_trainable.py), so that 16 of them fit on two cores. Ideal is trials × their sleep / workers. Printed: wall
time from the first trial's start to the last one's end over ideal; the same for each part of the search, which shows whether
it grows with the number of trials; and the driver's memory after each part.
"""

from __future__ import annotations

import argparse
import cProfile
import functools
import json
import os
import pstats
import sys
import tempfile
import threading
import time
from pathlib import Path

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


class Watch(threading.Thread):
    """When each trial's record came and what the driver held then, looked at from the side."""

    def __init__(self, study: Path):
        super().__init__(daemon=True)
        self.samples: list[tuple[float, int, int]] = []  # time, ended trials, bytes
        self.trials, self.over = study, threading.Event()

    def run(self) -> None:
        ended: set[str] = set()
        while not self.over.wait(0.5):
            for record in self.trials.glob("*/trial.json") if self.trials.is_dir() else ():
                if record.parent.name not in ended and '"ended":null' not in record.read_text().replace(" ", ""):
                    ended.add(record.parent.name)
            if self.trials.is_dir() and any(self.trials.iterdir()):
                self.samples.append((time.time(), len(ended), resident()))


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
    import sleeping_trainable

    from search import launch
    from search.load import load_search
    from search.source import read_source
    from trainables.layout import RunLayout

    launch.StagedUnfreezing = sleeping_trainable.Sleeping
    launch.local_ray = functools.partial(launch.local_ray, args.workers)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "controller.yaml"
        # JSON is YAML.
        file.write_text(json.dumps(config(args.trials, args.sampler, args.scheduler, sleeping_trainable.STEPS)))
        layout = RunLayout(Path(folder) / "run")
        layout.root.mkdir()
        watch = Watch(layout.trials)
        watch.start()
        profile = cProfile.Profile(time.process_time)
        if args.profile:
            profile.enable()
        launch.run_search(load_search(read_source(file, ())), layout)
        profile.disable()
        time.sleep(1)
        watch.over.set()
    if args.profile:
        profile.dump_stats(args.profile)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    of_a_trial = sleeping_trainable.STEP_S * sleeping_trainable.STEPS / args.workers
    report(watch.samples, args.trials, of_a_trial, pruned=args.scheduler != "none")


def report(samples: list[tuple[float, int, int]], trials: int, of_a_trial: float, *, pruned: bool) -> None:
    parts = 5
    marks = [next(s for s in samples if s[1] >= trials * part / parts) for part in range(parts + 1)]
    print(f"{'trials':>8}{'s':>8}{'ms a trial':>12}{'over ideal':>12}{'driver MiB':>12}")
    for before, after in zip(marks, marks[1:], strict=False):
        took, count = after[0] - before[0], after[1] - before[1]
        over = "pruned" if pruned else f"{took / (count * of_a_trial) - 1:.0%}"
        print(f"{after[1]:>8}{took:>8.1f}{1000 * took / count:>12.0f}{over:>12}{after[2] / 2**20:>12.0f}")
    took = marks[-1][0] - marks[0][0]
    print(
        f"all {trials} in {took:.0f} s; ideal, if none is pruned, {trials * of_a_trial:.0f} s: {took / (trials * of_a_trial) - 1:.0%} over"
    )
    # The first part holds what libraries load once.
    grown = (marks[-1][2] - marks[1][2]) / (marks[-1][1] - marks[1][1])
    print(f"memory: {grown * 1000 / 2**20:.0f} MiB for 1,000 trials more")


if __name__ == "__main__":
    main()
