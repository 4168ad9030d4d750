"""The main job as a user runs it: real processes, a real Ray, a real study, real images; some of them killed."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nbformat
import optuna
import pytest
import yaml
from conftest import RECIPE, TINY_NETWORK
from nbclient import NotebookClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from trainables.layout import RunLayout
from trainables.record import read_record
from trainables.report import OF_THE_MACHINE, read_epochs
from trainables.summary import summary_in

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[1] / "examples" / "analysis.ipynb"
THAW = str(Path(sys.executable).with_name("thaw"))
TRIALS = 6
EPOCHS = 8


def search_file(folder: Path, **search) -> Path:
    config = copy.deepcopy(RECIPE)
    for stage in config["train"]["stages"]:
        stage |= {"epochs": EPOCHS // 2, "plateau": None}
    config["train"] |= {"loss": {"kind": "ldam"}, "drw": {"start_fraction": 0.5}, "ema": {"decay": 0.9}}
    config["space"] = {
        "train.stages[*].head_lr": {"log": [0.01, 0.3]},
        "train.loss.max_margin": {"float": [0.2, 0.8]},
        "train.ema.decay": {"one_minus_log": [0.5, 0.99]},
    }
    config["search"] = {"trials": TRIALS, "scheduler": {"kind": "asha", "grace_epochs": 2, "reduction": 2}, **search}
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def thaw(*words, folder: Path, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run([THAW, *words], cwd=folder, capture_output=True, text=True, timeout=300, **kwargs)


def start(*words, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([THAW, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def study_of(layout: RunLayout) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(layout.study)))
    return optuna.load_study(study_name="small", storage=storage)


def wait_for(condition, what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def epochs_done(layout: RunLayout) -> int:
    return sum(len(read_epochs(trial.epochs)) for trial in layout.all_trials())


def trial_workers(layout: RunLayout) -> list[int]:
    """Processes in which a trial trains, by what trials say in their logs: they are no children of the driver."""
    logs = [trial.output.read_text() for trial in layout.all_trials() if trial.output.exists()]
    named = {int(pid) for log in logs for pid in re.findall(r"attempt \d+: process (\d+)", log)}
    return [pid for pid in named if (file := Path(f"/proc/{pid}/cmdline")).exists() and b"ray::" in file.read_bytes()]


def assert_whole(layout: RunLayout, *, trials: int = TRIALS) -> None:
    """No trial lost, doubled or told twice; records, epochs and study agree."""
    folders, study = layout.all_trials(), study_of(layout)
    assert [folder.number for folder in folders] == [trial.number for trial in study.trials] == list(range(trials))
    states = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    for folder, trial in zip(folders, study.trials, strict=True):
        record, reports = read_record(folder), read_epochs(folder.epochs)
        assert states[record.status] == trial.state.name
        assert [report["epoch"] for report in reports] == list(range(1, len(reports) + 1))
        assert trial.intermediate_values == {report["epoch"]: report["best_score"] for report in reports}
        assert (len(reports) == EPOCHS) == (record.status == "finished") == reports[-1]["finished"]
        if record.status == "finished":
            assert trial.value == reports[-1]["best_score"]
        assert (folder.checkpoints / reports[-1]["checkpoint"]).is_file()
        assert record.summary == summary_in(folder.epochs)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = thaw("search", str(search_file(folder)), folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, RunLayout(folder / "runs" / "small"), done.stdout


def test_a_search_leaves_a_whole_run_and_says_what_to_do_next(undisturbed):
    _, layout, said = undisturbed
    assert_whole(layout)
    statuses = Counter(read_record(trial).status.value for trial in layout.all_trials())
    assert set(statuses) == {"finished", "pruned"}
    for trial in layout.all_trials():
        assert list(trial.root.glob("events.out.tfevents.*"))
    for words in ("thaw train runs/small/best.yaml", "thaw results small", "tensorboard --logdir runs/small/trials"):
        assert words in said


def test_the_exported_config_trains_to_the_same_result_bit_for_bit(undisturbed):
    folder, layout, _ = undisturbed
    done = thaw("train", "runs/small/best.yaml", "--runs", "again", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "to the last bit" in done.stdout
    provenance = yaml.safe_load(layout.best.read_text())["provenance"]
    of_the_trial = read_epochs(layout.trial(provenance["trial"]).epochs)
    (again,) = (folder / "again").iterdir()
    for one, other in zip(of_the_trial, read_epochs(again / "epochs.jsonl"), strict=True):
        assert {k: v for k, v in one.items() if k not in OF_THE_MACHINE} == {
            k: v for k, v in other.items() if k not in OF_THE_MACHINE
        }


def test_results_can_be_asked_for_as_table_csv_and_json(undisturbed):
    folder, layout, _ = undisturbed
    assert "pruned" in thaw("results", "small", folder=folder).stdout
    rows = json.loads(thaw("results", "small", "--format", "json", folder=folder).stdout)
    assert [row["trial"] for row in rows] != []
    best = max(read_epochs(trial.epochs)[-1]["best_score"] for trial in layout.all_trials())
    finished = [row for row in rows if row["status"] == "finished"]
    assert max(row["score"] for row in rows) == best
    assert finished
    csv = thaw("results", "small", "--format", "csv", "--top", "2", folder=folder).stdout.splitlines()
    assert len(csv) == 3


def test_the_notebook_shows_what_a_search_found(undisturbed, monkeypatch):
    _, layout, _ = undisturbed
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    monkeypatch.setenv("THAW_RUN", str(layout.root))
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = {cell["id"]: cell["outputs"][-1]["data"] for cell in notebook.cells if cell.cell_type == "code"}
    assert "'small', 'balanced_accuracy', 6" in outputs["cell-1"]["text/plain"]
    assert "train.loss.max_margin" in outputs["cell-3"]["text/plain"]
    drawn = [data for data in outputs.values() if "application/vnd.plotly.v1+json" in data]
    assert [len(data["application/vnd.plotly.v1+json"]["data"]) for data in drawn] == [TRIALS, 1]


def test_a_complete_search_is_not_run_again(undisturbed):
    folder, layout, _ = undisturbed
    before = layout.study.read_bytes()
    done = thaw("resume", "small", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Best config" in done.stdout
    assert layout.study.read_bytes() == before


def test_a_killed_search_goes_on_and_loses_no_trial(tmp_path):
    layout = RunLayout(tmp_path / "runs" / "small")
    driver = start("search", str(search_file(tmp_path)), folder=tmp_path)
    wait_for(lambda: epochs_done(layout) >= 2 * EPOCHS, "two trials' worth of epochs")
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    ended = {t.number: t for t in study_of(layout).trials if t.state.is_finished()}
    before = {number: layout.trial(number).epochs.read_bytes() for number in ended}
    done = thaw("resume", "small", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(layout)
    after = study_of(layout).trials
    assert {number: after[number] for number in ended} == ended
    assert {number: layout.trial(number).epochs.read_bytes() for number in ended} == before


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "preempted"])
def test_a_stopped_search_says_how_to_go_on_and_does(tmp_path, kill):
    layout = RunLayout(tmp_path / "runs" / "small")
    driver = start("search", str(search_file(tmp_path)), folder=tmp_path)
    wait_for(lambda: epochs_done(layout) >= EPOCHS, "a trial's worth of epochs")
    os.kill(driver.pid, kill)
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, said
    assert "thaw resume small" in said
    assert "Traceback" not in said
    done = thaw("resume", "small", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(layout)


def test_a_killed_worker_costs_its_trial_an_epoch_at_most(tmp_path):
    file = search_file(tmp_path, trials=2, scheduler={"kind": "none"}, max_concurrent=1)
    layout = RunLayout(tmp_path / "runs" / "small")
    driver = start("search", str(file), folder=tmp_path)
    wait_for(lambda: epochs_done(layout) >= EPOCHS // 2, "half a trial")
    killed_after = epochs_done(layout)
    workers = trial_workers(layout)
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    said, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, said
    assert_whole(layout, trials=2)
    times = [report["time"] for report in read_epochs(layout.trial(0).epochs)]
    assert times == sorted(times)
    assert killed_after < EPOCHS
    assert all(read_record(trial).status == "finished" for trial in layout.all_trials())


def test_a_second_driver_is_refused_while_the_first_runs(tmp_path):
    layout = RunLayout(tmp_path / "runs" / "small")
    driver = start("search", str(search_file(tmp_path)), folder=tmp_path)
    try:
        wait_for(lambda: epochs_done(layout) >= 1, "the first epoch")
        second = thaw("resume", "small", folder=tmp_path)
        assert second.returncode == 2
        assert "running in another process" in second.stderr
    finally:
        os.kill(driver.pid, signal.SIGINT)
        driver.wait(timeout=60)
    assert thaw("resume", "small", folder=tmp_path).returncode == 0
    assert_whole(layout)


def test_workers_find_a_backbone_of_the_users_where_the_search_was_started(tmp_path):
    config = copy.deepcopy(RECIPE)
    (tmp_path / "my_networks.py").write_text(TINY_NETWORK)
    config["model"] = {"backbone": "my_networks:tiny"}
    config["space"] = {"train.stages[0].head_lr": {"log": [0.01, 0.1]}}
    config["search"] = {"trials": 2, "scheduler": {"kind": "none"}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    done = thaw("search", "small.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    layout = RunLayout(tmp_path / "runs" / "small")
    assert [read_record(folder).status for folder in layout.all_trials()] == ["finished"] * 2
    again = thaw("train", "runs/small/best.yaml", folder=tmp_path)
    assert "the same" in again.stdout, again.stdout + again.stderr


def test_trials_that_stop_for_a_flag_are_told_as_pruned_with_their_curve(tmp_path):
    """A random network that learns next to nothing predicts one class for ever."""
    config = copy.deepcopy(RECIPE)
    config["model"] = {"backbone": "mobilenet_v3_small", "weights": "none"}
    head = {"name": "head", "unfreeze_from": "head", "epochs": 8, "plateau": None}
    config["train"] |= {"stages": [head], "stop_on": ["nan", "collapse"]}
    config["space"] = {"train.stages[0].head_lr": {"log": [1e-6, 1e-5]}}
    config["search"] = {"trials": 2, "scheduler": {"kind": "none"}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    done = thaw("search", "small.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    layout = RunLayout(tmp_path / "runs" / "small")
    for folder, trial in zip(layout.all_trials(), study_of(layout).trials, strict=True):
        record = read_record(folder)
        assert (record.status, record.reason) == ("pruned", "stopped for collapse in epoch 4")
        assert (trial.state.name, sorted(trial.intermediate_values)) == ("PRUNED", [1, 2, 3, 4])
    assert "trials 0, 1 stopped for collapse" in thaw("results", "small", folder=tmp_path).stdout


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_search_leaves_the_last_epoch_of_running_trials_whatever_is_saved(tmp_path, sent):
    file = search_file(tmp_path, trials=2, scheduler={"kind": "none"})
    config = yaml.safe_load(file.read_text())
    config["train"]["checkpoints"] = {"save_every_epochs": 1000}
    config["train"]["metric"] = "val_loss"
    stage = {"unfreeze_from": "head", "plateau": None}
    config["train"]["stages"] = [
        stage | {"name": "head", "epochs": 2, "head_lr": 0.05},
        stage | {"name": "worse", "epochs": 400, "head_lr": 50.0},  # nothing is better than what came first
    ]
    config["train"] |= {"early_stop": None, "stop_on": []}
    config["space"] = {"train.seed": {"int": [0, 9]}}
    file.write_text(yaml.safe_dump(config))
    layout = RunLayout(tmp_path / "runs" / "small")
    search = start("search", str(file), folder=tmp_path)
    wait_for(lambda: epochs_done(layout) >= 12 or search.poll() is not None, "some epochs")
    assert search.poll() is None, search.communicate()[0]
    search.send_signal(sent)
    said, _ = search.communicate(timeout=120)
    assert search.returncode == 130, said
    running = [trial for trial in layout.all_trials() if read_epochs(trial.epochs)]
    assert running
    for trial in running:
        last = read_epochs(trial.epochs)[-1]
        assert not last["finished"]
        assert last["checkpoint"] is None, "else the policy would have saved it anyway"
        assert max(int(path.name[:4]) for path in trial.checkpoints.glob("*.pt")) == last["epoch"]
