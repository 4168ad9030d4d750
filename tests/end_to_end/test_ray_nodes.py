"""Searches on a real Ray cluster: several raylets on this machine, one of which joins late and one of which dies."""

import copy
import os
import re
import shutil
import subprocess

import pytest
import yaml

from search.cluster import check_reachable as reaching
from search.cluster.check_reachable import check_reachable
from search.config.yaml_source import InputError
from tests.support.ray_nodes import ray_nodes, wait_for
from tests.support.recipes import RECIPE, TINY_NETWORK
from tests.support.searches import PATIENCE_S, THAW
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

pytestmark = pytest.mark.slow

TRIALS, EPOCHS = 10, 4
SLOW_NETWORK = f"""
import os, time
from pathlib import Path
{TINY_NETWORK}

class Wait(nn.Module):
    def forward(self, x):
        if "NODE" in os.environ and Path(os.environ["PLACES"], "slowly").exists():
            time.sleep(5)  # a trial must outlast the start of a worker: else those that are warm take all trials before it is there
        return x


def slow():
    place = os.environ.get("NODE")
    if place:
        Path(os.environ["PLACES"], place).touch()
    backbone = tiny()
    backbone.blocks["three"].append(Wait())
    return backbone
"""
"""Says on which node it was made; and takes its time while a file is there, so that nodes can come and go meanwhile."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """A head without trials and two nodes."""
    places = tmp_path_factory.mktemp("places")
    with ray_nodes() as started:
        started.head(PLACES=str(places))
        started.node("one", PLACES=str(places))
        started.node("two", PLACES=str(places))
        started.places = places
        yield started


@pytest.fixture
def folder(tmp_path):
    """With a search of the slow network, which lies in a package beside it."""
    package = tmp_path / "own"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "networks.py").write_text(SLOW_NETWORK)
    config = copy.deepcopy(RECIPE)
    config["model"] = {"backbone": "own.networks:slow"}
    config["train"]["prefix_cache"] = False
    for stage in config["train"]["stages"]:
        stage["plateau"] = None
    config["space"] = {"train.stages[*].head_lr": {"log": [0.01, 0.3]}}
    config["search"] = {"trials": TRIALS, "scheduler": {"kind": "none"}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def search(nodes, folder, *overrides, **env):
    words = [THAW, "search", "small.yaml", f"search.address={nodes.address}", *overrides]
    return subprocess.Popen(
        words, cwd=folder, env=nodes.env | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def said_by(driver):
    said, _ = driver.communicate(timeout=PATIENCE_S)
    return said


def test_no_trial_is_lost_when_nodes_come_and_go(nodes, folder):
    slowly = nodes.places / "slowly"
    slowly.touch()
    layout, driver = RunLayout(folder / "runs" / "small"), search(nodes, folder)

    def wait_for_trials_on(*names):
        there = [nodes.places / name for name in names]
        wait_for(lambda: all(place.exists() for place in there) or driver.poll() is not None, f"trials on {names}")
        assert driver.poll() is None, said_by(driver)

    wait_for_trials_on("one", "two")
    nodes.node("three", PLACES=str(nodes.places))
    wait_for_trials_on("three")
    nodes.kill("one")
    slowly.unlink()
    said = said_by(driver)
    assert driver.returncode == 0, said
    assert [trial.number for trial in layout.all_trials()] == list(range(TRIALS))
    for trial in layout.all_trials():
        assert read_record(trial).status == "finished"
        assert [report["epoch"] for report in read_epochs(trial.epochs)] == list(range(1, EPOCHS + 1))
    assert {place.name for place in nodes.places.iterdir()} == {"one", "two", "three"}
    assert not list(layout.root.glob(".nodes-*"))


def test_a_budget_ends_a_search_and_resume_knows_it(nodes, folder):
    layout, driver = RunLayout(folder / "runs" / "small"), search(nodes, folder, "search.stop.score=0.01")
    said = said_by(driver)
    assert driver.returncode == 0, said
    assert "The search is over: a trial scored" in said
    records = [read_record(trial) for trial in layout.all_trials()]
    assert 1 <= len(records) < TRIALS
    assert {record.status for record in records} <= {"finished", "pruned"}
    assert all(record.reason.startswith("budget: a trial scored") for record in records if record.status == "pruned")
    again = subprocess.run(
        [THAW, "resume", "small", "--trust-code"], cwd=folder, env=nodes.env, capture_output=True, text=True
    )
    assert (again.returncode, "The search is over: a trial scored" in again.stdout) == (0, True), again.stderr
    assert [read_record(trial) for trial in layout.all_trials()] == records


def refused(nodes, folder, *overrides, **env):
    """What is said about a search that does not start; nothing is left of it."""
    driver = search(nodes, folder, *overrides, **env)
    said = said_by(driver)
    assert driver.returncode == 2, said
    assert not (folder / "runs" / "small").exists()
    return "\n".join(line for line in said.splitlines() if "images of" not in line)


def test_a_wrong_token_is_refused(nodes, folder):
    said = refused(nodes, folder, RAY_AUTH_TOKEN="0" * 32)
    assert said.startswith(f"error: search.address: the Ray cluster {nodes.address} rejects the token of this machine")


def test_more_than_any_node_has_is_refused(nodes, folder):
    said = refused(nodes, folder, "search.resources={cpus: 2, gpus: 0}")  # two nodes with one each
    assert said.startswith("error: search.resources.cpus: 2 for a trial, but no node has more than 1")


def test_another_version_of_ray_is_refused(nodes, monkeypatch):
    for name, value in nodes.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(reaching, "_TRY", reaching._TRY.replace("; ray", "; ray.__version__ = '2.54.0'; ray"))
    with pytest.raises(
        InputError, match=r"runs Ray 2\.\d+\.\d+ on Python [\d.]+, and this machine Ray 2.54.0 on Python"
    ):
        check_reachable(nodes.address)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="a node with other disks takes root")
def test_nodes_with_other_disks_are_named(nodes, folder):
    runs, data = folder / "runs", folder / "data"
    for place in (runs, data):
        place.mkdir()
    (data / "digits.npz").write_bytes(npz())
    (runs / "other").touch()
    mounts = {
        "elsewhere": f"mount -t tmpfs none {runs}",
        "lacking": f"mount --bind {runs} {runs} && mount -o remount,bind,ro {runs} && mount -t tmpfs none {data}",
    }
    for name, mount in mounts.items():
        nodes.node(name, inside=["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"])
    said = refused(nodes, folder, f"data={{source: npz, path: {data}/digits.npz, image_size: 32}}")
    for line in (
        rf"node elsewhere \(.*\): does not see the run's folder {runs}/small: it must be on storage that all nodes share",
        rf"node lacking \(.*\): data.path: {data}/digits.npz does not exist there; put it where all nodes see it",
        rf"node lacking \(.*\): cannot write to the run's folder {runs}/small as user \w+: Read-only file system",
    ):
        assert re.search(line, said), said
    assert said.count("\n") == 2


def npz():
    import io

    import numpy as np
    from sklearn.datasets import load_digits

    digits, file = load_digits(), io.BytesIO()
    images, labels = (digits.images[:200] * 15).astype("uint8"), digits.target[:200].reshape(-1, 1)
    parts = {"train": slice(0, 150), "val": slice(150, 200)}
    np.savez(
        file,
        **{f"{k}_images": images[s] for k, s in parts.items()},
        **{f"{k}_labels": labels[s] for k, s in parts.items()},
    )
    return file.getvalue()
