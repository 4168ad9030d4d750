"""A small search as a user runs it, in processes of its own; and a brake, so that whatever is done to it finds it running."""

import contextlib
import copy
import re
import subprocess
import sys
import time
from pathlib import Path

import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.support.recipes import RECIPE, TINY_NETWORK
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.run_folder.epoch_report import OF_THE_MACHINE, read_epochs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record
from trainables.run_folder.trial_summary import summary_in

THAW = str(Path(sys.executable).with_name("thaw"))
TRIALS = 6
EPOCHS = 8
PATIENCE_S = 600
"""How long a test waits for what must happen: it ends a test that hangs, and says nothing of how fast anything is to be."""


def search_file(folder: Path, *, train=None, space=None, **search) -> Path:
    """`small.yaml`: a few trials in two stages, of which ASHA prunes some."""
    config = copy.deepcopy(RECIPE)
    for stage in config["train"]["stages"]:
        stage |= {"epochs": EPOCHS // 2, "plateau": None}
    config["train"] |= {
        "loss": {"kind": "ldam"},
        "drw": {"start_fraction": 0.5},
        "ema": {"decay": 0.9},
        **(train or {}),
    }
    config["space"] = space or {
        "train.stages[*].head_lr": {"log": [0.01, 0.3]},
        "train.loss.max_margin": {"float": [0.2, 0.8]},
        "train.ema.decay": {"one_minus_log": [0.5, 0.99]},
    }
    config["search"] = {"trials": TRIALS, "scheduler": {"kind": "asha", "grace_epochs": 2, "reduction": 2}, **search}
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


BRAKED_NETWORK = f"""
import time
from pathlib import Path
{TINY_NETWORK}

class Brake(nn.Module):
    def forward(self, x):
        brake = Path(__file__).with_name("brake")
        if brake.exists() and len(x) > 2:  # two images it is looked at with before a search
            time.sleep(float(brake.read_text() or 0))
        return x


def braked():
    backbone = tiny()
    backbone.blocks["three"].append(Brake())
    return backbone
"""


def braked(file: Path, seconds: float = 0.1) -> Path:
    """Lets the runs of a file train a tiny network that takes its time until the brake is removed.

    Args:
        seconds: of a batch, of which an epoch has 3 to train and 12 to judge.
    Returns:
        The brake: a file beside the other.
    """
    config = yaml.safe_load(file.read_text())
    config["model"] = {"backbone": "braked_network:braked"}
    config["train"].setdefault("prefix_cache", False)  # kept features would not be waited for
    config["train"].setdefault("stop_on", ["nan"])  # of a search the default ends those that collapse, as this one does
    file.write_text(yaml.safe_dump(config))
    file.with_name("braked_network.py").write_text(BRAKED_NETWORK)
    brake = file.with_name("brake")
    brake.write_text(str(seconds))
    return brake


def thaw(*words, folder: Path, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run([THAW, *words], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, **kwargs)


def start(*words, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([THAW, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition, what: str, driver: subprocess.Popen[str] | None = None, *, every_s: float = 0.2) -> None:
    """
    Args:
        driver: must not end meanwhile.
        every_s: seconds from look to look: looking takes time from what is waited for.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert driver is None or driver.poll() is None, f"no {what}: {driver.communicate()}"
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}"
        time.sleep(every_s)


def study_of(layout: RunLayout) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(layout.study)))
    return optuna.load_study(study_name="small", storage=storage)


def epochs_done(layout: RunLayout) -> int:
    return sum(len(read_epochs(trial.epochs)) for trial in layout.all_trials())


def story(layout: RunLayout) -> list[tuple]:
    """All that a search found out."""
    trials = []
    for folder, trial in zip(layout.all_trials(), study_of(layout).trials, strict=True):
        record = read_record(folder).model_dump(exclude={"started", "ended", "summary"})
        epochs = [{k: v for k, v in r.items() if k not in OF_THE_MACHINE} for r in read_epochs(folder.epochs)]
        trials.append((record, epochs, trial.state.name, trial.params, trial.values, trial.intermediate_values))
    return trials


def trial_workers(layout: RunLayout) -> list[int]:
    """Processes in which a trial trains, by what trials say in their logs: they are no children of the driver."""
    logs = [trial.output.read_text() for trial in layout.all_trials() if trial.output.exists()]
    named = {int(pid) for log in logs for pid in re.findall(r"attempt \d+: process (\d+)", log)}
    return [pid for pid in named if b"ray::" in command_line(pid)]


def command_line(pid: int) -> bytes:
    """Empty when there is no such process any more."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def assert_whole(layout: RunLayout, *, trials: int = TRIALS, epochs: int = EPOCHS) -> None:
    """No trial lost, doubled or told twice; records, epochs and study agree."""
    folders, study = layout.all_trials(), study_of(layout)
    assert [folder.number for folder in folders] == [trial.number for trial in study.trials] == list(range(trials))
    states = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    for folder, trial in zip(folders, study.trials, strict=True):
        record, reports = read_record(folder), read_epochs(folder.epochs)
        assert states[record.status] == trial.state.name
        assert [report["epoch"] for report in reports] == list(range(1, len(reports) + 1))
        assert trial.intermediate_values == {report["epoch"]: report["best_score"] for report in reports}
        assert (len(reports) == epochs) == (record.status == "finished") == reports[-1]["finished"]
        if record.status == "finished":
            assert trial.value == reports[-1]["best_score"]
        assert max(CheckpointFolder(folder.checkpoints).files) == len(reports)
        assert record.summary == summary_in(folder.epochs)
