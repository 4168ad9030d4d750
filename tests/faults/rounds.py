"""Rounds of faults: a real search whose processes are killed and whose files are damaged at random moments.

What must hold after each is asserted here, so that the tests and `make soak` do the same.
"""

import contextlib
import copy
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import yaml

from tests.support.ray_nodes import descendants
from tests.support.recipes import RECIPE
from tests.support.searches import PATIENCE_S, braked, command_line, epochs_done, start, study_of, thaw, trial_workers
from trainables.run_folder.epoch_report import OF_THE_MACHINE, read_epochs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

KILLS = ("worker", "SIGKILL", "SIGTERM", "SIGINT", "raylet")
DAMAGE = ("truncated", "flipped", "deleted", "foreign", "none")


def write_search(folder: Path, *, trials: int = 6, **search) -> Path:
    """Trials of 24 epochs, one after the other, of which ASHA prunes some. The brake is on: see `let_go`."""
    config = copy.deepcopy(RECIPE)
    for stage, opened in zip(config["train"]["stages"], ("last:1", "last:2"), strict=True):
        stage |= {"epochs": 12, "plateau": None, "unfreeze_from": opened, "backbone_lr_ratio": 0.5}
    config["train"] |= {"stop_on": ["nan"], "metric": "auc", "prefix_cache": True}
    config["space"] = {"train.stages[*].head_lr": {"log": [0.01, 0.3]}, "train.seed": {"int": [0, 9]}}
    config["search"] = {
        "trials": trials,
        "max_concurrent": 1,
        "max_retries": 50,
        "sampler": {"kind": "tpe", "startup_trials": 3},
        "scheduler": {"kind": "asha", "grace_epochs": 4, "reduction": 2},
        **search,
    }
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(config))
    braked(file, 0.03)
    return file


def let_go(folder: Path) -> None:
    """Takes the brake off what runs there."""
    (folder / "brake").unlink(missing_ok=True)


def story(layout: RunLayout) -> list[dict]:
    """All that a search found out, without what differs from run to run of the same."""
    told = []
    trials = study_of(layout).trials
    assert [folder.number for folder in layout.all_trials()] == [trial.number for trial in trials]
    for folder, trial in zip(layout.all_trials(), trials, strict=True):
        record = read_record(folder)
        told.append(
            {
                "record": (record.number, record.params, record.status, record.reason, record.objectives),
                "epochs": [_without_machine(report) for report in read_epochs(folder.epochs)],
                "study": (trial.state.name, trial.params, trial.values, trial.intermediate_values),
            }
        )
    return told


def exported(layout: RunLayout) -> tuple:
    """What the exported config says, and which trial it is of."""
    config = yaml.safe_load(layout.best.read_text())
    provenance = config.pop("provenance")
    return config, provenance["trial"], provenance["score"]


def undisturbed(folder: Path, *, run=thaw, **options) -> RunLayout:
    file = write_search(folder, **options)
    let_go(folder)
    done = run("search", file.name, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return RunLayout(folder / "runs" / "small")


class Disturbed:
    """A search that is not left alone, and a search_state of what was done to it."""

    def __init__(self, folder: Path, seed: int, **options):
        self.folder, self.random, self.search_state = folder, random.Random(seed), Counter()
        self.layout = RunLayout(folder / "runs" / "small")
        self.lost: list[str] = []
        self.said: list[tuple[str, int, str]] = []
        self._options = options
        self._ended: dict[int, bytes] = {}
        self._seen: dict[int, dict[int, tuple]] = {}
        self._damaged: set[int] = set()

    def round(self, kill: str) -> None:
        """Starts the search or goes on with it, kills something, and looks at what is left."""
        driver = self._start()
        if kill != "worker" and self.random.random() < 0.2:
            time.sleep(self.random.uniform(0, 6))  # while it starts, or soon after
        else:
            self._wait_for_epochs(driver, self.random.randrange(1, 8))
            time.sleep(self.random.uniform(0, 0.2))
        if kill == "worker":
            self._kill_workers()
            self._wait_for_epochs(driver, 2)
            kill = self.random.choice(["SIGKILL", "SIGTERM"])
        self._end(driver, kill)
        self._look()
        self._damage(self.random.choice(DAMAGE))

    def move(self) -> None:
        """Takes the folder to another place, to be gone on with there."""
        self.folder = self.folder.rename(self.folder.with_name(f"{self.folder.name}-moved"))
        self.layout = RunLayout(self.folder / "runs" / "small")
        self.search_state["moved"] += 1

    def finish(self) -> None:
        """Leaves it alone until it is complete."""
        driver = self._start()
        let_go(self.folder)
        said, _ = driver.communicate(timeout=PATIENCE_S)
        assert driver.returncode == 0, said
        self._look()

    def _start(self):
        if self.layout.config.exists():
            return start("resume", "small", "--trust-code", folder=self.folder)
        return start("search", write_search(self.folder, **self._options).name, folder=self.folder)

    def _wait_for_epochs(self, driver, more: int) -> None:
        goal, deadline = epochs_done(self.layout) + more, time.monotonic() + PATIENCE_S
        while epochs_done(self.layout) < goal and driver.poll() is None:
            assert time.monotonic() < deadline, f"no {more} epochs in {PATIENCE_S} s"
            time.sleep(0.02)

    def _kill_workers(self) -> None:
        for worker in trial_workers(self.layout):
            _kill(worker, signal.SIGKILL)
            self.search_state["worker killed"] += 1

    def _end(self, driver, kill: str) -> None:
        below = [*descendants(driver.pid), *trial_workers(self.layout)]
        raylets: list[int] = []
        if kill == "raylet":
            raylets = [pid for pid in below if _program(pid).endswith("/raylet")]
            kill = "raylet" if raylets else "SIGKILL"  # before Ray was there
        if driver.poll() is None:  # else the search was complete
            self.search_state["raylet killed" if kill == "raylet" else f"{kill} of the driver"] += 1
        for pid in raylets if kill == "raylet" else [driver.pid]:
            _kill(pid, signal.SIGKILL if kill == "raylet" else getattr(signal, kill))
        said, _ = driver.communicate(timeout=PATIENCE_S)
        self.said.append((kill, driver.returncode, said))
        if kill in {"SIGTERM", "SIGINT"} and epochs_done(self.layout):
            assert driver.returncode in {0, 130, -getattr(signal, kill), 128 + getattr(signal, kill)}, said
        deadline = time.monotonic() + PATIENCE_S
        while left := [pid for pid in below if _program(pid) and not _program(pid).endswith("Agent")]:
            assert time.monotonic() < deadline, f"{[_program(pid) for pid in left]} live on"
            time.sleep(0.05)
        for pid in below:
            if _program(pid).endswith("Agent"):  # Ray's, which write nothing of ours, outlive their raylet for a while
                _kill(pid, signal.SIGKILL)

    def _look(self) -> None:
        """No trial that ended has changed, and of the others no more than an epoch was done again."""
        for folder in self.layout.all_trials():
            number, content = folder.number, folder.epochs.read_bytes() if folder.epochs.exists() else b""
            if number in self._ended and self._ended[number] != content:
                self.lost.append(f"the epochs of trial {number}, which had ended, have changed")
            now = {report["epoch"]: (report["time"], report["train_s"]) for report in read_epochs(folder.epochs)}
            before = self._seen.get(number, {})
            again = [epoch for epoch, when in before.items() if now.get(epoch) != when]
            if len(again) > 1 + (number in self._damaged):
                self.lost.append(f"epochs {again} of trial {number} were done again or are lost")
            self.search_state["epochs repeated"] += len(again)
            self._seen[number] = now
            if folder.trial.exists() and read_record(folder).status != "running":
                self._ended[number] = content
        self._damaged.clear()

    def _damage(self, how: str) -> None:
        """Does something to the newest checkpoint of a trial that is still to go on."""
        running = [
            folder
            for folder in self.layout.all_trials()
            if folder.number not in self._ended and len(list(folder.checkpoints.glob("0*.pt"))) > 1
        ]
        if not running or how == "none":
            return
        folder = self.random.choice(running)
        newest = max(folder.checkpoints.glob("0*.pt"))
        content = bytearray(newest.read_bytes())
        if how == "truncated":
            newest.write_bytes(content[: self.random.randrange(len(content))])
        elif how == "flipped":
            content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
            newest.write_bytes(content)
        elif how == "deleted":
            newest.unlink()
        else:
            newest.write_bytes(self.random.randbytes(self.random.randrange(10_000)))
        self._damaged.add(folder.number)
        self.search_state[f"checkpoint {how}"] += 1


def _without_machine(report: dict) -> dict:
    return {key: value for key, value in report.items() if key not in OF_THE_MACHINE}


def _program(pid: int) -> str:
    """Path of what a process runs; empty when it is no more."""
    return command_line(pid).partition(b"\0")[0].decode(errors="replace")


def _kill(pid: int, sent: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.kill(pid, sent)
