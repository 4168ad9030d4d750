"""The main job as a user runs it: real processes, a real Ray, a real study, real images."""

import copy
import json
import os
import re
from collections import Counter

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from tests.support.project import PROJECT
from tests.support.recipes import RECIPE, TINY_NETWORK
from tests.support.searches import TRIALS, assert_whole, search_file, study_of, thaw
from trainables.run_folder.epoch_report import OF_THE_MACHINE, read_epochs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

pytestmark = pytest.mark.slow

NOTEBOOK = PROJECT / "examples" / "analysis.ipynb"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    file = search_file(folder)
    config = yaml.safe_load(file.read_text())
    config["data"]["test"] = 0.2
    file.write_text(yaml.safe_dump(config))
    done = thaw("search", str(file), folder=folder)
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


def test_a_search_in_which_every_trial_diverges_fails_and_leaves_nothing_to_use(tmp_path, thaw_here):
    search_file(
        tmp_path, space={"train.stages[*].head_lr": {"log": [1e30, 1e32]}}, trials=2, scheduler={"kind": "none"}
    )
    done = thaw_here("search", "small.yaml", folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "run 'small' has no best trial: no trial has a score yet (2 pruned)" in done.stdout
    assert thaw_here("report", "small", folder=tmp_path).returncode == 0
    for words in (("export", "small", "--model", "model"), ("confirm", "small")):
        refused = thaw_here(*words, folder=tmp_path)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1, "one message"


def test_trials_of_a_search_never_see_the_test_split(undisturbed):
    _, layout, _ = undisturbed
    assert layout.all_trials()
    assert not [trial for trial in layout.all_trials() if trial.test.exists()]


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
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
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


def test_workers_find_a_backbone_of_the_users_where_the_search_was_started(tmp_path):
    config = copy.deepcopy(RECIPE)
    (tmp_path / "my_networks.py").write_text(TINY_NETWORK)
    config["model"] = {"backbone": "my_networks:tiny"}
    config["space"] = {"train.stages[0].head_lr": {"log": [0.01, 0.1]}}
    config["search"] = {"trials": 2, "scheduler": {"kind": "none"}, "max_concurrent": 1}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    done = thaw("search", "small.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    layout = RunLayout(tmp_path / "runs" / "small")
    assert [read_record(folder).status for folder in layout.all_trials()] == ["finished"] * 2
    again = thaw("train", "runs/small/best.yaml", "--trust-code", folder=tmp_path)
    assert "the same" in again.stdout, again.stdout + again.stderr


def test_short_trials_drop_no_worker_that_is_starting(tmp_path):
    """Ray would give the first worker to the trials whose own are starting, and drop those."""
    config = copy.deepcopy(RECIPE)
    (tmp_path / "my_networks.py").write_text(TINY_NETWORK)
    config["model"] = {"backbone": "my_networks:tiny"}
    config["train"]["stages"] = [{"name": "head", "unfreeze_from": "head", "epochs": 1, "plateau": None}]
    config["space"] = {"train.stages[0].head_lr": {"log": [0.01, 0.1]}}
    config["search"] = {"trials": 200, "sampler": {"kind": "random"}, "scheduler": {"kind": "none"}}
    config["search"]["resources"] = {"cpus": os.cpu_count() / 4}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    done = thaw("search", "small.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    layout = RunLayout(tmp_path / "runs" / "small")
    logs = [folder.output.read_text() for folder in layout.all_trials()]
    assert len({re.search(r"attempt 1: process (\d+)", log)[1] for log in logs}) == 4


def test_trials_that_stop_for_a_flag_are_told_as_pruned_with_their_curve(tmp_path):
    """A random network that learns next to nothing predicts one class for ever."""
    config = copy.deepcopy(RECIPE)
    config["model"] = {"backbone": "mobilenet_v3_small", "weights": "none"}
    head = {"name": "head", "unfreeze_from": "head", "epochs": 8, "plateau": None}
    config["train"] |= {"stages": [head], "stop_on": ["nan", "collapse"]}
    config["space"] = {"train.stages[0].head_lr": {"log": [1e-6, 1e-5]}}
    config["search"] = {"trials": 2, "scheduler": {"kind": "none"}, "max_concurrent": 1}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    done = thaw("search", "small.yaml", folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "No trial finished:\n  2 trials pruned: stopped for collapse in epoch 4" in done.stdout + done.stderr
    layout = RunLayout(tmp_path / "runs" / "small")
    for folder, trial in zip(layout.all_trials(), study_of(layout).trials, strict=True):
        record = read_record(folder)
        assert (record.status, record.reason) == ("pruned", "stopped for collapse in epoch 4")
        assert (trial.state.name, sorted(trial.intermediate_values)) == ("PRUNED", [1, 2, 3, 4])
    assert "trials 0, 1 stopped for collapse" in thaw("results", "small", folder=tmp_path).stdout
