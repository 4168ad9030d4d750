"""How long `thaw resume` takes until the first step of training, where a search of many trials was killed near its end.

    python benchmarks/resume.py [--trials 100] [--rounds 3]

Trials of one epoch of a head on 40 digits, two at a time; the last ones are long. When all others have ended, the driver is killed.
Printed: seconds from the command to the first epoch's start, and those of them that pass before Ray is asked to start.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunLayout

THAW = str(Path(sys.executable).with_name("thaw"))
LONG = 2000
"""Epochs of the two trials that are running when the driver is killed."""


def config(trials: int) -> dict:
    stage = {"name": "head", "unfreeze_from": "head", "epochs": LONG, "plateau": None}
    return {
        "data": {
            "source": "digits",
            "image_size": 32,
            "validation": 0.1,
            "long_tail": {"imbalance": 10, "largest": 12},
        },
        "model": {"backbone": "efficientnet_lite0"},
        "train": {"metric": "balanced_accuracy", "stages": [stage], "early_stop": None, "stop_on": []},
        "space": {"train.stages[*].epochs": {"choice": [1, LONG]}},
        "search": {
            "name": "resume",
            "trials": trials + 2,
            "sampler": {"kind": "random"},
            "scheduler": {"kind": "none"},
            "max_concurrent": 2,
            "enqueue": [{"train.stages[*].epochs": 1 if number < trials else LONG} for number in range(trials + 2)],
        },
    }


def killed_search(folder: Path, trials: int) -> RunLayout:
    layout = RunLayout(folder / "runs" / "resume")
    (folder / "search.yaml").write_text(json.dumps(config(trials)))  # JSON is YAML
    driver = subprocess.Popen([THAW, "search", "search.yaml"], cwd=folder, stdout=subprocess.DEVNULL)
    while driver.poll() is None and not all(len(read_epochs(layout.trial(n).epochs)) > 5 for n in (trials, trials + 1)):
        time.sleep(0.2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    time.sleep(5)  # its workers end
    return layout


def seconds_to_first_step(folder: Path, layout: RunLayout, trials: int) -> tuple[float, float]:
    """Of a resumed search: until it trains, and until its attempt begins."""
    before = {n: len(read_epochs(layout.trial(n).epochs)) for n in (trials, trials + 1)}
    attempt, began = layout.read_attempt(), time.time()
    driver = subprocess.Popen([THAW, "resume", "resume"], cwd=folder, stdout=subprocess.DEVNULL)
    attempted = 0.0
    try:
        while True:
            assert driver.poll() is None
            if not attempted and layout.read_attempt() != attempt:
                attempted = time.time() - began
            new = [report for n, count in before.items() for report in read_epochs(layout.trial(n).epochs)[count:]]
            if new:
                ends = [(datetime.fromisoformat(r["time"]).timestamp(), r["train_s"] + r["val_s"]) for r in new]
                return min(end - took for end, took in ends) - began, attempted
            time.sleep(0.05)
    finally:
        driver.kill()
        driver.wait()
        time.sleep(5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        layout = killed_search(folder, args.trials)
        rounds = [seconds_to_first_step(folder, layout, args.trials) for _ in range(args.rounds)]
    for name, values in zip(
        ("until it trains", "of which until Ray has started"), zip(*rounds, strict=True), strict=True
    ):
        print(f"{name}: {statistics.median(values):.1f} s ({min(values):.1f} … {max(values):.1f})")


if __name__ == "__main__":
    main()
