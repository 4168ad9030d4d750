"""Whole searches that were killed or extended, against those that were not: the same proposals, prunings and scores."""

import copy
import os

import pytest
import yaml

from tests.support.recipes import RECIPE
from tests.support.searches import assert_whole, braked, epochs_done, start, story, study_of, wait_for
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

pytestmark = pytest.mark.slow

TRIALS = 16
EPOCHS = 4


def write_search(folder, **search):
    """Sixteen short trials, one after the other, of which ASHA prunes some after their first stage."""
    config = copy.deepcopy(RECIPE)
    config["train"]["stages"] = [
        {"name": "head", "unfreeze_from": "head", "epochs": EPOCHS // 2, "plateau": None},
        {"name": "dropout", "unfreeze_from": "head", "epochs": EPOCHS // 2, "plateau": None, "dropout": 0.4},
    ]
    config["space"] = {
        "train.stages[*].head_lr": {"log": [1e-4, 0.3]},
        "train.loss.kind": {"choice": ["cross_entropy", "ldam"]},
        "train.loss.max_margin": {"float": [0.2, 0.8], "when": {"train.loss.kind": "ldam"}},
    }
    config["search"] = {
        "trials": TRIALS,
        "max_concurrent": 1,
        "sampler": {"kind": "tpe", "startup_trials": 4},
        "scheduler": {"kind": "asha", "rungs": "stages", "reduction": 2},
        **search,
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, thaw_here):
    folder = tmp_path_factory.mktemp("undisturbed")
    write_search(folder)
    done = thaw_here("search", "small.yaml", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    found = story(RunLayout(folder / "runs" / "small"))
    assert {trial[2] for trial in found} == {"COMPLETE", "PRUNED"}
    assert {len(epochs) for _, epochs, state, *_ in found if state == "PRUNED"} == {EPOCHS // 2}, "the end of a stage"
    return found


def test_a_search_that_was_killed_finds_what_an_undisturbed_one_does(tmp_path, undisturbed, thaw_here):
    write_search(tmp_path)
    layout = RunLayout(tmp_path / "runs" / "small")
    driver = start("search", "small.yaml", folder=tmp_path)
    wait_for(lambda: epochs_done(layout) >= 14 or driver.poll() is not None, "some epochs")
    driver.kill()
    driver.communicate()
    done = thaw_here("resume", "small", "--trust-code", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(layout, trials=TRIALS, epochs=EPOCHS)
    assert story(layout) == undisturbed


def test_a_search_that_was_extended_finds_what_a_longer_one_does(tmp_path, undisturbed, thaw_here):
    write_search(tmp_path, trials=8)
    layout = RunLayout(tmp_path / "runs" / "small")
    assert thaw_here("search", "small.yaml", folder=tmp_path).returncode == 0
    assert story(layout) == undisturbed[:8]
    refused = thaw_here("extend", "small", "--trials", "7", folder=tmp_path)
    assert (refused.returncode, "already has 8 trials; give at least 8" in refused.stderr) == (2, True)
    done = thaw_here("extend", "small", "--trials", "+8", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert story(layout) == undisturbed
    assert yaml.safe_load(layout.config.read_text())["search"]["trials"] == TRIALS


def test_a_search_for_several_objectives_runs_with_as_many_trials_at_once_as_there_are_cores(tmp_path):
    write_search(
        tmp_path,
        trials=4,
        max_concurrent=None,
        objectives=["score", "macs", "train_s"],
        constraints={"parameters": {"max": 1e9}},
        sampler={"kind": "nsga2", "population": 2},
    )
    layout = RunLayout(tmp_path / "runs" / "small")
    brake = braked(tmp_path / "small.yaml")
    driver = start("search", "small.yaml", folder=tmp_path)
    cores, most = min(2, os.cpu_count() or 1), 0

    def ended():
        nonlocal most
        records = [read_record(folder) for folder in layout.all_trials() if folder.trial.exists()]
        most = max(most, sum(record.status == "running" for record in records))
        if most >= cores:
            brake.unlink(missing_ok=True)
        return driver.poll() is not None

    wait_for(ended, "the search")
    said, _ = driver.communicate()
    assert driver.returncode == 0, said
    assert most >= cores
    for folder, trial in zip(layout.all_trials(), study_of(layout).trials, strict=True):
        record = read_record(folder)
        assert set(record.objectives) == {"score", "macs", "train_s", "parameters"}
        if record.status == "finished":
            assert trial.values == [record.objectives[name] for name in ("score", "macs", "train_s")]
        assert trial.constraints == {"parameters": record.objectives["parameters"] - 1e9}
