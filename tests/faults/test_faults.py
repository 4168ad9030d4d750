"""A search that is killed, damaged, and left without storage finds what an undisturbed one does."""

import copy
import json
import os
import random
import shutil
import signal
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import yaml

from tests.faults.rounds import Disturbed, exported, let_go, story, undisturbed, write_search
from tests.support.object_store import BUCKET, ObjectStore
from tests.support.ray_nodes import descendants
from tests.support.recipes import RECIPE
from tests.support.searches import PATIENCE_S, braked, epochs_done, start, study_of, thaw, wait_for
from tests.support.small_disk import fill, small_disk
from trainables.run_folder.epoch_report import OF_THE_MACHINE, read_epochs
from trainables.run_folder.layout import RunLayout, TrialLayout
from trainables.run_folder.trial_record import read_record

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def calm(tmp_path_factory, thaw_here):
    return undisturbed(tmp_path_factory.mktemp("calm"), run=thaw_here)


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own."""
    with small_disk(tmp_path / "disk", 400) as folder:
        yield folder


def test_whatever_is_killed_or_damaged_the_search_finds_what_it_would_have_found(tmp_path, calm):
    seed = int(os.environ.get("THAW_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"THAW_FAULT_SEED={seed}")
    (tmp_path / "here").mkdir()
    search = Disturbed(tmp_path / "here", seed)
    for kill in ("worker", "raylet", search.random.choice(["SIGKILL", "SIGTERM", "SIGINT"])):  # more: `make soak`
        search.round(kill)
    search.move()
    search.finish()
    print(dict(search.search_state))
    assert search.lost == []
    assert search.search_state["worker killed"] > 0
    assert sum(search.search_state[name] for name in search.search_state if name.endswith(("driver", "killed"))) >= 3, (
        "too short"
    )
    assert story(search.layout) == story(calm)
    assert exported(search.layout) == exported(calm)


def test_a_search_whose_storage_refuses_stops_and_goes_on_when_it_takes_files_again(disk, calm):
    layout = RunLayout(disk / "runs" / "small")
    driver = start("search", str(write_search(disk)), folder=disk)
    wait_for(lambda: epochs_done(layout) >= 26, "a trial and some epochs", driver)
    fill(disk / "filler")
    said, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 2, said
    assert "No space left on device" in said
    assert "thaw resume small" in said
    assert "Traceback" not in said
    with read_only(disk):
        refused = thaw("resume", "small", "--trust-code", folder=disk)
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert "Read-only file system" in refused.stderr
        assert "Traceback" not in refused.stderr
    (disk / "filler").unlink()
    let_go(disk)
    done = thaw("resume", "small", "--trust-code", folder=disk)
    assert done.returncode == 0, done.stdout + done.stderr
    assert story(layout) == story(calm)
    assert exported(layout) == exported(calm)


def test_a_search_whose_machine_is_lost_goes_on_from_its_copy_on_another(tmp_path, calm, monkeypatch):
    """The driver is killed and its folder gone; and at the URL the newest checkpoint of a running trial is cut off."""
    with closing(ObjectStore(monkeypatch)) as store:
        here, there = tmp_path / "here", tmp_path / "there"
        here.mkdir(), there.mkdir()
        driver = start("search", str(write_search(here, mirror=BUCKET)), folder=here)
        enough = "a trial and some epochs at the URL"
        wait_for(lambda: is_copied(store, ended=1, running_epochs=3), enough, driver, every_s=0.5)
        below = descendants(driver.pid)
        driver.kill()
        driver.communicate(timeout=PATIENCE_S)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below if not _is_agent(pid)), "its end")
        shutil.copy(here / "braked_network.py", there)  # the user's own code is on the new machine, too
        shutil.rmtree(here)
        copied = store.files("small")
        newest = max(name for name in copied if "/checkpoints/" in name)
        cut_off = copied[newest]
        store.system.pipe_file(f"bucket/runs/small/{newest}", cut_off[: len(cut_off) // 2])

        done = thaw("resume", f"{BUCKET}/small", "--trust-code", folder=there)
        assert done.returncode == 0, done.stdout + done.stderr
        layout = RunLayout(there / "runs" / "small")
        assert story(layout) == story(calm)
        assert exported(layout) == exported(calm)
        again = 0
        for folder in layout.all_trials():
            before = copied.get(f"trials/{folder.root.name}/epochs.jsonl", b"")
            record = json.loads(copied.get(f"trials/{folder.root.name}/trial.json", b"{}"))
            if record.get("status", "running") != "running":
                assert folder.epochs.read_bytes() == before, f"trial {folder.number} had ended"
            again += len({*before.splitlines()} - {*folder.epochs.read_bytes().splitlines()})
        # The one that was cut off, and those whose reports came to the copy before their checkpoints.
        assert again <= 3, f"{again} epochs were done again"
        assert store.files("small")["trials/0005/trial.json"] == layout.trial(5).trial.read_bytes()
        assert store.files("small")["best.yaml"] == layout.best.read_bytes()
        secrets = [name for name, content in store.files("small").items() if b"hush-hush" in content]
        assert secrets == []


def is_copied(store, *, ended, running_epochs):
    """Downloads only what it must look into: the server runs in this process."""
    names = store.names("small")
    records = store.files("small", [name for name in names if name.endswith("/trial.json")])
    status = {name.removesuffix("/trial.json"): json.loads(content)["status"] for name, content in records.items()}
    running = [trial for trial, is_now in status.items() if is_now == "running"]
    if "study.journal" not in names or len(status) - len(running) < ended:
        return False
    reports = [f"{trial}/epochs.jsonl" for trial in running if f"{trial}/epochs.jsonl" in names]
    return any(sum(name.startswith(f"{trial}/checkpoints/") for name in names) >= 2 for trial in running) and any(
        len(content.splitlines()) >= running_epochs for content in store.files("small", reports).values()
    )


def _is_agent(pid):
    """Ray's, which outlive their raylet for a while and write nothing of ours."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].endswith(b"Agent")
    except OSError:
        return True


TRAINED = 20


def write_training(folder):
    """`one.yaml`: no epoch is better than the first, as none changes a weight; so the policy saves none between it and the last."""
    recipe = copy.deepcopy(RECIPE)
    head = {"name": "head", "unfreeze_from": "head", "epochs": TRAINED, "head_lr": 1e-30, "plateau": None}
    recipe["train"] |= {"stages": [head], "metric": "val_loss", "stop_on": [], "early_stop": None}
    recipe["train"]["checkpoints"] = {"save_every_epochs": 1000, "milestones": []}
    file = folder / "one.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return braked(file)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training that nothing stopped."""
    folder = tmp_path_factory.mktemp("trained")
    write_training(folder).unlink()
    done = thaw("train", "one.yaml", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return _only_run(folder)


def test_a_preempted_training_leaves_its_last_epoch_whatever_is_saved_and_goes_on_to_the_same_end(tmp_path, trained):
    brake, done = write_training(tmp_path), []
    for sent in (signal.SIGTERM, signal.SIGINT):
        training, goal = start("train", "one.yaml", folder=tmp_path), len(done) + 3
        wait_for(lambda goal=goal: len(read_epochs(_only_run(tmp_path).epochs)) >= goal, "some epochs", training)
        training.send_signal(sent)
        said, _ = training.communicate(timeout=PATIENCE_S)
        assert training.returncode == 130, said
        assert "Traceback" not in said
        stopped, before = _only_run(tmp_path), done
        done = read_epochs(stopped.epochs)
        assert done[-1]["best_epoch"] == 1, "else the policy would have saved the last one anyway"
        newest = max(int(path.name[:4]) for path in stopped.checkpoints.glob("*.pt"))
        assert newest in {len(done), len(done) + 1}, "or the epoch that was over and not yet in the records"
        assert newest < TRAINED
        assert times(done)[: len(before)] == times(before), "no epoch was done again"
    brake.unlink()
    assert thaw("train", "one.yaml", folder=tmp_path).returncode == 0
    assert numbers(stopped) == numbers(trained)
    assert times(read_epochs(stopped.epochs))[: len(done)] == times(done), "no epoch was done again"


def times(reports):
    return [report["time"] for report in reports]


def numbers(run):
    return [
        {key: value for key, value in report.items() if key not in OF_THE_MACHINE} for report in read_epochs(run.epochs)
    ]


def _only_run(folder):
    return TrialLayout(next((folder / "runs").glob("*"), folder / "none"))


FAILING = """
import torch
TRIES = __file__ + ".tries"
from torch import nn
from trainables.models import Backbone


def block(c_in, c_out):
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride=2, padding=1), nn.BatchNorm2d(c_out), nn.ReLU())


class Greedy(nn.Module):
    def forward(self, x):
        return x + torch.empty(2**50) if len(x) > 2 else x  # two images it is looked at with before the search


class Broken(nn.Module):
    def forward(self, x):
        if len(x) > 2:
            with open(TRIES, "a") as file:
                file.write("x")
            raise RuntimeError("this layer is broken")
        return x


def with_last(module):
    blocks = {"one": block(3, 8), "two": nn.Sequential(block(8, 12), module)}
    return Backbone(blocks=blocks, features=12, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))


def well():
    return with_last(nn.Identity())


def greedy():
    return with_last(Greedy())


def broken():
    return with_last(Broken())
"""


def test_what_fails_fails_alone_and_for_a_reason_that_is_told(tmp_path):
    (tmp_path / "own.py").write_text(FAILING)
    file = write_search(tmp_path, trials=5, scheduler={"kind": "none"}, max_retries=50)
    config = yaml.safe_load(file.read_text())
    config["train"]["stages"] = [{"name": "head", "unfreeze_from": "head", "epochs": 2, "head_lr": 0.05}]
    config["space"] = {
        "model.backbone": {"choice": ["own:well", "own:greedy", "own:broken"]},
        "train.stages[0].head_lr": {"float": [1e-3, 1e30]},
    }
    points = [("own:well", 0.05), ("own:greedy", 0.05), ("own:broken", 0.05), ("own:well", 1e30), ("own:well", 0.04)]
    config["search"]["enqueue"] = [{"model.backbone": b, "train.stages[0].head_lr": lr} for b, lr in points]
    file.write_text(yaml.safe_dump(config))
    done = thaw("search", "small.yaml", folder=tmp_path, env={**os.environ, "PYTHONPATH": _with_path(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    layout = RunLayout(tmp_path / "runs" / "small")
    records = [read_record(folder) for folder in layout.all_trials()]
    said = [f"{record.status}: {record.reason}" for record in records]
    assert said[0] == said[4] == "finished: None", said
    assert said[1].startswith("failed: memory ran out in epoch 1 of stage head"), said
    assert "this layer is broken" in said[2], said
    assert "twice in the same way" in said[2], said
    assert (tmp_path / "own.py.tries").read_text() == "xx", "of 51 tries that search.max_retries allows"
    assert "nan" in said[3] or "diverged" in said[3], said
    assert [trial.state.name for trial in study_of(layout).trials][:3] == ["COMPLETE", "FAIL", "FAIL"]


def _with_path(folder):
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


@contextmanager
def read_only(disk):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
