"""What a search costs beside training, validation and caches: core time of its workers, per trial.

    python benchmarks/overhead.py [--trials 48] [--epochs 1] [--rounds 3] [--blocks]

Trivial trials (a head on 40 digits) or, with `--blocks`, trials that train (the last three blocks on 1,618 digits of 64 px, seconds
an epoch) on two workers, each from the start of its first epoch to the end of its last: what this time holds beside training,
validation and caches is Ray's, Optuna's and ours, checkpoints and records on disk included. Also printed: how much private memory
a second worker takes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.run_folder.layout import RunLayout

sys.path[0] = str(Path(__file__).parent.parent)
os.environ.setdefault("OMP_NUM_THREADS", "1")


WORKERS = 2


def config(trials: int, epochs: int, blocks: bool = False) -> dict:
    stage = {"name": "only", "unfreeze_from": "last:3" if blocks else "head", "epochs": epochs, "plateau": None}
    few = {"image_size": 32, "long_tail": {"imbalance": 10, "largest": 12}}
    return {
        "data": {"source": "digits", "validation": 0.1, **({"image_size": 64} if blocks else few)},
        "model": {"backbone": "efficientnet_lite0"},
        "train": {"metric": "balanced_accuracy", "stages": [stage], "early_stop": None},
        "space": {"train.stages[*].head_lr": {"log": [1e-3, 1e-1]}},
        "search": {
            "name": "overhead",
            "trials": trials,
            "sampler": {"kind": "random"},
            "scheduler": {"kind": "none"},
            "max_concurrent": WORKERS,
        },
    }


class PrivateMemory(threading.Thread):
    """The most private memory that a worker was seen to hold beside another, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.ended = 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            held = []
            for process in descendants(os.getpid()):
                with contextlib.suppress(OSError):
                    # While a trial trains, Ray names its process after the class that Tune made of ours.
                    if re.search("StagedUnfreezing|ResourceTrainable", (process / "cmdline").read_text()):
                        held.append(private_bytes(process))
            if len(held) >= WORKERS:  # libraries that one alone has mapped count as private
                self.most = max(self.most, *held)


def descendants(pid: int) -> list[Path]:
    """Folders under /proc of all processes that descend from one."""
    parents = {}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[process] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = [], {pid}
    while new:
        children = [process for process, parent in parents.items() if parent in new]
        found += children
        new = {int(process.name) for process in children}
    return found


def private_bytes(process: Path) -> int:
    lines = (process / "smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def worker_seconds(layout: RunLayout) -> tuple[float, float]:
    """From the first epoch's start to the last one's end, summed over workers; and what epochs, caches included, took of it."""
    from trainables.run_folder.epoch_report import read_epochs

    spans: dict[str, list[float]] = {}
    worked = 0.0
    for trial in layout.all_trials():
        worker = re.search(r"process (\d+)", trial.output.read_text())[1]
        for report in read_epochs(trial.epochs):
            took, end = report["train_s"] + report["val_s"], datetime.fromisoformat(report["time"]).timestamp()
            spans.setdefault(worker, []).extend([end - took, end])
            worked += took
    return sum(max(span) - min(span) for span in spans.values()), worked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--blocks", action="store_true")
    args = parser.parse_args()
    from rich.console import Console

    from search.config.yaml_source import read_source
    from search.config_file.load import load_search
    from search.launch.run_search import run_search
    from search.preflight.data_and_weights import check_data_and_weights
    from trainables.run_folder.layout import RunLayout

    overheads, shares, memory = [], [], PrivateMemory()
    memory.start()
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "overhead.yaml"
            # JSON is YAML.
            file.write_text(json.dumps(config(args.trials, args.epochs, args.blocks)))
            source = read_source(file, ())
            search = load_search(source)
            check_data_and_weights(search.corner_recipes(), source, Console(file=sys.stderr))
            layout = RunLayout(Path(folder) / "run")
            run_search(search, layout)
            there, worked = worker_seconds(layout)
        overheads.append((there - worked) / args.trials)
        shares.append((there - worked) / there)
    memory.ended.set()
    spread = f"{min(overheads) * 1000:.0f} … {max(overheads) * 1000:.0f}"
    print(f"{args.trials} trials of {args.epochs} epochs, {WORKERS} workers, {args.rounds} rounds")
    print(f"overhead of a trial: {statistics.median(overheads) * 1000:.0f} ms ({spread}) of its worker's time")
    print(f"share of the workers' time: {statistics.median(shares):.1%}")
    print(f"private memory of a worker: {memory.most / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
