"""The trainable as Ray drives it, in this process: what it reports and when, and that a worker forgets the trial before."""

import gc
import platform
import weakref
from dataclasses import asdict

import pytest
import yaml
from ray import tune

from trainables.core import available_cpus
from trainables.core.rungs import Rungs
from trainables.run_folder.cache_progress import CacheProgress
from trainables.run_folder.epoch_report import OF_THE_MACHINE, read_epochs
from trainables.run_folder.layout import RunLayout
from trainables.trial import tune_trainable
from trainables.trial.tune_trainable import StagedUnfreezing

HEAD = {"name": "head", "unfreeze_from": "head", "epochs": 6, "head_lr": 0.05, "plateau": None}


@pytest.fixture
def assign(tmp_path):
    """`assign(number, recipe)`: what the searcher hands to a worker."""
    layout = RunLayout(tmp_path / "run")
    layout.root.mkdir()
    layout.attempt.write_text("1")

    def make(number, recipe, *, rungs=Rungs()):
        shared = {
            "run": str(layout.root),
            "attempt": 1,
            "trials": 1000,
            "rungs": asdict(rungs),
            "reads_test": False,
            "objectives": ["score"],
        }
        return {**shared, "number": number, "recipe": recipe.model_dump_json()}

    return make


def results_of(worker):
    results = [worker.step()]
    while not results[-1]["done"]:
        results.append(worker.step())
    return results


def numbers(results):
    lines = [report for result in results for report in result["reports"]]
    return [{key: value for key, value in line.items() if key not in OF_THE_MACHINE} for line in lines]


@pytest.mark.parametrize(
    ("every_s", "rungs", "told"),
    [
        pytest.param(0.0, Rungs(), [1, 2, 3, 4, 5, 6], id="slow epochs"),
        pytest.param(60.0, Rungs(), [6], id="fast epochs"),
        pytest.param(60.0, Rungs("epochs", (2, 5)), [2, 5, 6], id="fast epochs, judged in between"),
        pytest.param(60.0, Rungs("epochs", (6,)), [6], id="judged at the end"),
        pytest.param(60.0, Rungs("compute", (0.3, 0.31, 0.6)), [2, 4, 6], id="judged by compute"),
        pytest.param(60.0, Rungs("stages", (1,)), [6], id="judged after the first stage"),
    ],
)
def test_fast_epochs_share_a_report_that_ends_with_a_rung(make_recipe, assign, monkeypatch, every_s, rungs, told):
    monkeypatch.setattr(tune_trainable, "REPORT_EVERY_S", every_s)
    assignment = assign(0, make_recipe(stages=[HEAD]), rungs=rungs)
    results = results_of(StagedUnfreezing(assignment))
    assert [result["epoch"] for result in results] == told
    reports = [report for result in results for report in result["reports"]]
    assert [report["epoch"] for report in reports] == [1, 2, 3, 4, 5, 6]
    assert reports == read_epochs(RunLayout(assignment["run"]).trial(0).epochs)
    for result in results:
        assert result["best_score"] == max(r["score"] for r in reports[: result["epoch"]])
    assert [result["finished"] for result in results] == [False] * (len(told) - 1) + [True]


@pytest.mark.slow
def test_a_worker_forgets_the_trials_before(make_recipe, assign):
    """The same recipe as the first and the last of a dozen different ones on one worker: the same bits."""
    others = [
        {"loss": {"kind": "ldam"}, "drw": {"start_epoch": 2}},
        {"loss": {"kind": "balanced_softmax"}, "ema": {"decay": 0.9}},
        {"loss": {"kind": "focal"}, "balance": "sampler"},
        {"optimizer": {"kind": "adamw"}, "clip_norm": 0.1, "accumulate": 2},
        {"optimizer": {"kind": "adam", "layer_decay": 0.5}, "bn_affine": "train"},
        {"augment": {"views": 2, "crop": {}}, "seed": 3},
        {"augment": {"horizontal_flip": 0.5}, "balance": "class_weights"},
        {"precision": "bf16"},
        {"cpu_threads": 2},
        {"one_cycle": {}, "batch_size": 7},
        {"stages": [HEAD | {"unfreeze_from": "all", "epochs": 1}]},
    ]
    recipe = make_recipe(ema={"decay": 0.9})
    worker = StagedUnfreezing(assign(0, recipe))
    first = numbers(results_of(worker))
    for number, other in enumerate(others, start=1):
        assert worker.reset_config(assign(number, make_recipe(**other)))
        worker.step()  # and is stopped, as by a scheduler
    assert worker.reset_config(assign(99, recipe))
    assert numbers(results_of(worker)) == first


def test_a_trial_finds_nothing_left_of_the_network_before(make_recipe, assign):
    worker = StagedUnfreezing(assign(0, make_recipe()))
    worker.step()
    network = weakref.ref(worker._run.trainer.model)
    gc.disable()  # it would be found some time
    try:
        worker.reset_config(assign(1, make_recipe()))
    finally:
        gc.enable()
    assert network() is None


def test_a_trial_goes_on_from_its_folder_on_whatever_worker(make_recipe, assign, monkeypatch):
    monkeypatch.setattr(tune_trainable, "REPORT_EVERY_S", 0.0)
    recipe = make_recipe()
    whole = numbers(results_of(StagedUnfreezing(assign(0, recipe))))
    cut_off = StagedUnfreezing(assign(1, recipe))
    done = [cut_off.step(), cut_off.step()]
    cut_off.cleanup()
    again, *rest = results_of(StagedUnfreezing(assign(1, recipe)))
    assert numbers([again]) == numbers(done[-1:])  # its driver may have died before it was judged
    assert numbers(done) + numbers(rest) == whole
    assert yaml.safe_load(RunLayout(assign(1, recipe)["run"]).trial(1).recipe.read_text())["train"]["seed"] == 0


def test_each_trial_of_a_worker_has_its_own_log(make_recipe, assign, capfd):
    worker = StagedUnfreezing(assign(0, make_recipe()))
    for number in (0, 1):
        worker.reset_config(assign(number, make_recipe()))
        worker.step()
    for number in (0, 1):
        log = RunLayout(assign(number, make_recipe())["run"]).trial(number).output.read_text()
        assert f"trial {number}, attempt 1: process" in log
        assert f"trial {1 - number}," not in log
        assert "stage head (1 of 2) trains the head alone: 12,810 parameters" in log
    assert "trial" not in capfd.readouterr().err


def test_a_trial_that_cannot_start_says_why_in_its_log(make_recipe, assign):
    assignment = assign(0, make_recipe(data={"source": "folder", "path": "/nowhere", "long_tail": None}))
    with pytest.raises(RuntimeError, match="/nowhere"):
        StagedUnfreezing(assignment).step()
    log = RunLayout(assignment["run"]).trial(0).output.read_text()
    assert "Traceback" in log
    assert "/nowhere" in log


def test_what_is_computed_for_the_cache_is_told_in_the_trials_folder(make_recipe, assign, tmp_path, monkeypatch):
    """Decoding and features; not seen by who looks a moment later."""
    told = []

    class Told(CacheProgress):
        def progress(self, what):
            return lambda done, total: told.append((what, done == total))

    monkeypatch.setattr(tune_trainable, "CacheProgress", Told)
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    # Images of a size that no test before has left open in this process.
    assignment = assign(0, make_recipe(stages=[HEAD], data={"image_size": 96}))
    results_of(StagedUnfreezing(assignment))
    assert ("decoding images", True) in told
    assert ("computing features", True) in told
    assert not RunLayout(assignment["run"]).trial(0).building.exists()


def test_what_cannot_be_opened_says_where_and_why(make_recipe, assign, tmp_path):
    """As on a node that joined after the others had been checked."""
    missing = {"source": "folder", "path": str(tmp_path / "photos"), "long_tail": None}
    assignment = assign(0, make_recipe(data=missing))
    with pytest.raises(RuntimeError, match=rf"^on {platform.node()}: data.path: {tmp_path}/photos: does not exist$"):
        StagedUnfreezing(assignment).step()
    last = RunLayout(assignment["run"]).trial(0).error.read_text().splitlines()[-1]
    assert last == f"on {platform.node()}: data.path: {tmp_path}/photos: does not exist"


@pytest.mark.parametrize(("cpus", "own"), [(3, 3), (0.5, 1)])
def test_a_trial_decodes_on_the_cores_that_it_was_given(make_recipe, assign, monkeypatch, cpus, own):
    monkeypatch.setattr(available_cpus, "available_cpus", lambda: 8)
    monkeypatch.setattr(available_cpus, "_share", 8.0)
    resources = tune.PlacementGroupFactory([{"CPU": cpus}])
    monkeypatch.setattr(StagedUnfreezing, "trial_resources", resources)
    StagedUnfreezing(assign(0, make_recipe(stages=[HEAD])))
    assert available_cpus.own_cpus() == own
