"""Population-based training as a user runs it: real Ray, a tiny network; killed, extended, exported, trained again."""

import copy
import shutil

import pytest
import yaml

from results_analysis import load
from tests.support.recipes import RECIPE, TINY_NETWORK
from tests.support.searches import epochs_done, start, story, study_of, wait_for
from trainables.run_folder.epoch_report import OF_THE_MACHINE, read_epochs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

pytestmark = pytest.mark.slow

TRIALS = 12


def write_search(folder, **search):
    """Twelve trials of a tiny network, one after the other, of which the worst third stops every two epochs."""
    (folder / "tiny_network.py").write_text(TINY_NETWORK)
    config = copy.deepcopy(RECIPE)
    config["model"] = {"backbone": "tiny_network:tiny"}
    stage = {"plateau": None, "head_lr": 0.01, "backbone_warmup_epochs": 0, "head_frozen_epochs": 0}
    config["train"]["stages"] = [
        {"name": "two", "unfreeze_from": "two", "epochs": 3, **stage},
        {"name": "all", "unfreeze_from": "all", "epochs": 3, **stage},
    ]
    config["train"]["stop_on"] = []
    config["space"] = {
        "train.stages[*].head_lr": {"log": [1e-3, 0.5]},
        "train.loss.kind": {"choice": ["cross_entropy", "focal"]},
        "train.loss.gamma": {"float": [0.5, 4.0], "when": {"train.loss.kind": "focal"}},
        "train.batch_size": {"choice": [8, 16]},
    }
    config["search"] = {
        "trials": TRIALS,
        "max_concurrent": 1,
        "sampler": {"kind": "random"},
        "scheduler": {"kind": "pbt", "population": 4, "every_epochs": 2, "quantile": 0.34},
        **search,
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, thaw_here):
    folder = tmp_path_factory.mktemp("undisturbed")
    write_search(folder)
    done = thaw_here("search", "small.yaml", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_worst_stop_and_others_go_on_from_the_best(undisturbed, thaw_here):
    layout = RunLayout(undisturbed / "runs" / "small")
    assert_a_population(layout)
    records, children = [read_record(folder) for folder in layout.all_trials()], children_in(layout)
    assert {record.reason.partition(" was ")[2] for record in records if record.status == "pruned"} == {
        "among the worst 34% there"
    }
    assert load(layout.root).trials()["parent"].dropna().tolist() == [child.parent.trial for child in children]
    said = thaw_here("watch", "small", "--once", folder=undisturbed).stdout
    assert f"trial {children[-1].number}: starts from trial {children[-1].parent.trial} after epoch" in said


def assert_a_population(layout):
    """All trials are there; those that go on from others have their structure, their epochs and other values."""
    records = [read_record(folder) for folder in layout.all_trials()]
    assert [record.number for record in records] == list(range(TRIALS))
    assert {record.status.value for record in records} == {"finished", "pruned"}
    assert all(record.parent is None for record in records[:4])
    children = [record for record in records if record.parent]
    assert sum(record.status == "pruned" for record in records) >= len(children) >= 2
    for child in children:
        parent, epoch = records[child.parent.trial], child.parent.epoch
        assert (epoch % 2, child.params["train.batch_size"]) == (0, parent.params["train.batch_size"])
        assert child.params["train.loss.kind"] == parent.params["train.loss.kind"]
        assert child.params["train.stages[*].head_lr"] != parent.params["train.stages[*].head_lr"]
        assert study_of(layout).trials[child.number].params == child.params
        own, theirs = (read_epochs(layout.trial(n).epochs) for n in (child.number, parent.number))
        assert timeless(own[:epoch]) == timeless(theirs[:epoch])
        assert [report["inherited"] for report in own] == [True] * epoch + [False] * (len(own) - epoch)
        assert all((report["train_s"] > 0) != report["inherited"] for report in own)


def timeless(reports):
    return [{k: v for k, v in report.items() if k not in OF_THE_MACHINE} for report in reports]


def test_an_exported_child_trains_again_to_the_same(undisturbed, thaw_here):
    layout = RunLayout(undisturbed / "runs" / "small")
    whole = [
        record.number
        for record in map(read_record, layout.all_trials())
        if record.parent and len(read_epochs(layout.trial(record.number).epochs)) > record.parent.epoch
    ]
    number = whole[-1]
    assert thaw_here("export", "small", "--trial", str(number), "-o", "child.yaml", folder=undisturbed).returncode == 0
    done = thaw_here("train", "child.yaml", "--trust-code", folder=undisturbed)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (undisturbed / "runs").glob("child-*")
    expected = timeless(read_epochs(layout.trial(number).epochs))
    found = timeless(read_epochs(folder / "epochs.jsonl"))
    assert found[: len(expected)] == expected


def test_a_killed_search_finds_what_an_undisturbed_one_does(tmp_path, undisturbed, thaw_here):
    write_search(tmp_path)
    layout = RunLayout(tmp_path / "runs" / "small")
    driver = start("search", "small.yaml", folder=tmp_path)
    wait_for(lambda: len(children_in(layout)) >= 2, "two that start from others", driver)
    driver.kill()
    driver.communicate()
    done = thaw_here("resume", "small", "--trust-code", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert story(layout) == story(RunLayout(undisturbed / "runs" / "small"))


def children_in(layout):
    records = [read_record(folder) for folder in layout.all_trials() if folder.trial.exists()]
    return [record for record in records if record.parent]


def test_an_extended_search_finds_what_a_longer_one_does(tmp_path, undisturbed, thaw_here):
    write_search(tmp_path, trials=7)
    layout, whole = RunLayout(tmp_path / "runs" / "small"), story(RunLayout(undisturbed / "runs" / "small"))
    assert thaw_here("search", "small.yaml", folder=tmp_path).returncode == 0
    assert story(layout) == whole[:7]
    done = thaw_here("extend", "small", "--trust-code", "--trials", str(TRIALS), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert story(layout) == whole


def test_several_train_at_once_and_a_kill_breaks_no_lineage(tmp_path, thaw_here):
    write_search(tmp_path, max_concurrent=2)
    layout = RunLayout(tmp_path / "runs" / "small")
    driver = start("search", "small.yaml", folder=tmp_path)
    wait_for(lambda: epochs_done(layout) >= 30 or driver.poll() is not None, "some epochs")
    driver.kill()
    driver.communicate()
    parents = {folder.number: read_record(folder).parent for folder in layout.all_trials() if folder.trial.exists()}
    done = thaw_here("resume", "small", "--trust-code", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_a_population(layout)
    assert {number: read_record(layout.trial(number)).parent for number in parents} == parents


def test_a_trial_that_others_go_on_from_is_missed(tmp_path, undisturbed, thaw_here):
    shutil.copytree(undisturbed, tmp_path / "copy")
    layout = RunLayout(tmp_path / "copy" / "runs" / "small")
    child = next(record for record in map(read_record, layout.all_trials()) if record.parent)
    shutil.rmtree(layout.trial(child.parent.trial).root)
    done = thaw_here("extend", "small", "--trust-code", "--trials", "+1", folder=tmp_path / "copy")
    assert done.returncode == 2
    assert f"lacks the folder of trial {child.parent.trial}, from which trial {child.number} started" in done.stderr
    assert "Traceback" not in done.stderr
