"""A run in its folder that is stopped and taken up again equals one that was not; whatever happens to the folder meanwhile."""

import csv
import dataclasses
import json
import shutil
from dataclasses import replace

import pytest
import torch
import yaml

from tests.support.small_runs import differences, small_recipe, stage, timeless
from trainables.checkpoints.checkpoint_file import load_checkpoint
from trainables.checkpoints.policy import epochs_to_keep
from trainables.data.dataset import open_dataset
from trainables.recipe.recipe import parse_recipe
from trainables.recipe.train_config import CheckpointPolicy
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import TrialLayout, checkpoint_name
from trainables.trial.training_run import SupersededError, TrainingRun

EPOCHS = 4


@pytest.fixture(scope="module")
def recipe():
    return small_recipe(
        stages=[stage("head", "head", 2), stage("top", "last:1", 2, head_frozen_epochs=1)],
        checkpoints={"keep_best": 2, "keep_last": 2, "milestones": []},
        ema={"decay": 0.5},
    )


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    """A run that nobody interrupted."""
    folder = TrialLayout(tmp_path_factory.mktemp("finished") / "run")
    list(TrainingRun(recipe, folder))
    return folder


@pytest.fixture(scope="module")
def stopped(recipe, tmp_path_factory):
    """A run that stopped after its third epoch; to be copied."""
    folder = TrialLayout(tmp_path_factory.mktemp("stopped") / "run")
    run = TrainingRun(recipe, folder)
    for _ in range(3):
        next(run)
    return folder


@pytest.fixture
def copied(stopped, tmp_path):
    shutil.copytree(stopped.root, tmp_path / "run")
    return TrialLayout(tmp_path / "run")


def newest(folder):
    return max(folder.checkpoints.glob("*.pt"))


def logged(folder):
    with folder.log.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same_result(folder, finished):
    ours, theirs = read_epochs(folder.epochs), read_epochs(finished.epochs)
    assert [timeless(report) for report in ours] == [timeless(report) for report in theirs]
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == sorted(
        p.name for p in finished.checkpoints.iterdir()
    )
    for file in finished.checkpoints.iterdir():
        ours, theirs = (load_checkpoint(f)["trainer"] for f in (folder.checkpoints / file.name, file))
        assert differences(ours, theirs) == []


def assert_log_and_records_agree(folder):
    columns = ("epoch", "stage", "stage_index", "val_loss", "score", "checkpoint", "time")
    reports = read_epochs(folder.epochs)
    assert [{**row, "checkpoint": ""} for row in logged(folder)] == [
        {name: "" if name == "checkpoint" else str(report[name]) for name in columns} for report in reports
    ]
    assert [report["epoch"] for report in reports] == list(range(1, len(reports) + 1))


def test_a_run_leaves_its_records(recipe, finished):
    assert_log_and_records_agree(finished)
    assert len(read_epochs(finished.epochs)) == EPOCHS
    assert parse_recipe(yaml.safe_load(finished.recipe.read_text())) == recipe
    environment = json.loads(finished.environment.read_text())
    assert environment["device"] == "cpu"
    assert environment["classes"] == [str(digit) for digit in range(10)]
    assert environment["validation_images"] == sum(map(sum, read_epochs(finished.epochs)[0]["confusion"]))
    assert not finished.error.exists()
    assert {path.name for path in finished.root.iterdir()} == {
        "recipe.yaml",
        "environment.json",
        "epochs.jsonl",
        "log.csv",
        "checkpoints",
        "checkpoints.jsonl",
    }


@pytest.mark.parametrize("end", ["closed", "resumed"])
def test_the_log_names_the_checkpoints_that_exist(make_recipe, tmp_path, end):
    """At the end: most are rotated out after the line about their epoch, and the last one may be written after it."""
    folder = TrialLayout(tmp_path / "run")
    policy = CheckpointPolicy(save_every_epochs=3, keep_last=2, milestones=()).model_dump()
    recipe = make_recipe(stages=[stage("head", "head", 4)], checkpoints=policy)
    run = TrainingRun(recipe, folder)
    for _ in range(4):
        next(run)
        assert {row["checkpoint"] for row in logged(folder)} == {""}
    run.close()
    if end == "resumed":
        TrainingRun(recipe, folder).close()
    existing = {path.name for path in folder.checkpoints.iterdir()}
    assert {row["checkpoint"] for row in logged(folder)} - {""} == existing
    assert len(existing) < 4


def test_a_report_is_on_disk_before_it_is_handed_on(recipe, tmp_path):
    folder = TrialLayout(tmp_path / "run")
    scores = {}
    for report in TrainingRun(recipe, folder):
        assert timeless(read_epochs(folder.epochs)[-1]) == timeless(
            json.loads(replace(report, checkpoint=None).to_json())
        )
        assert_log_and_records_agree(folder)
        file = folder.checkpoints / report.checkpoint
        assert file.is_file()
        assert report.checkpoint == checkpoint_name(report.epoch, report.stage, "balanced_accuracy", report.score)
        assert load_checkpoint(file)["report"] == read_epochs(folder.epochs)[-1]
        scores[report.epoch] = report.score
        kept = {int(path.name[:4]) for path in folder.checkpoints.iterdir()}
        assert kept == epochs_to_keep(scores, recipe.train.checkpoints, recipe.train.metric)


def test_every_nth_checkpoint_stays(make_recipe, tmp_path):
    folder = TrialLayout(tmp_path / "run")
    policy = CheckpointPolicy(keep_every_epochs=2, keep_last=2, milestones=()).model_dump()
    recipe = make_recipe(stages=[stage("head", "head", 5)], checkpoints=policy)
    reports = list(TrainingRun(recipe, folder))
    kept = {int(path.name[:4]) for path in folder.checkpoints.iterdir()}
    assert kept == {2, 4, 5, reports[-1].best_epoch}


def test_a_run_that_stopped_goes_on(recipe, copied, finished):
    run = TrainingRun(recipe, copied)
    assert [report["epoch"] for report in run.reports] == [1, 2, 3]
    assert [report.epoch for report in run] == [4]
    assert_same_result(copied, finished)
    assert_log_and_records_agree(copied)


def test_a_finished_run_has_nothing_to_do(recipe, finished, tmp_path):
    shutil.copytree(finished.root, tmp_path / "run")
    copy = TrialLayout(tmp_path / "run")
    run = TrainingRun(recipe, copy)
    assert list(run) == []
    assert run.reports == read_epochs(finished.epochs)
    assert_same_result(copy, finished)


def _cut_records(folder, keep):
    lines = folder.epochs.read_text().splitlines(keepends=True)
    folder.epochs.write_text("".join(lines[:keep]))


def _torn(path):
    path.write_bytes(path.read_bytes()[:-40])


def _extra_record(folder):
    """As after a kill of a run whose newest checkpoint was lost."""
    line = json.loads(folder.epochs.read_text().splitlines()[-1]) | {"epoch": 4}
    with folder.epochs.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _flip(path, position):
    damaged = bytearray(path.read_bytes())
    damaged[position if position >= 0 else len(damaged) + position] ^= 0x10
    path.write_bytes(damaged)


def _flip_a_weight(path):
    content = path.read_bytes()
    weight = load_checkpoint(path)["trainer"]["weights"]["head.last.weight"]
    _flip(path, content.index(weight.numpy().tobytes()) + 1000)


class _RunsCode:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return type(self.trace).touch, (self.trace,)


def _hostile(folder):
    torch.save({"schema": 1, "trainer": {}, "report": _RunsCode(folder.root / "trace")}, newest(folder))


def _all_damaged(folder):
    for path in folder.checkpoints.iterdir():
        path.write_bytes(path.read_bytes()[:1000])


def _half_written(folder):
    content = newest(folder).read_bytes()
    (folder.checkpoints / ".0004_top_balanced_accuracy=0.9000.pt.x1y2z3").write_bytes(content[:500])


ACCIDENTS = {
    "a record is missing": lambda folder: _cut_records(folder, 2),
    "the last record is torn": lambda folder: _torn(folder.epochs),
    "a record too many": _extra_record,
    "the log is missing": lambda folder: folder.log.unlink(),
    "the log's last line is torn": lambda folder: _torn(folder.log),
    "a checkpoint was being written": _half_written,
    "the newest checkpoint is truncated": lambda folder: _torn(newest(folder)),
    "the newest checkpoint is empty": lambda folder: newest(folder).write_bytes(b""),
    "the newest checkpoint's first byte is wrong": lambda folder: _flip(newest(folder), 0),
    "the newest checkpoint's directory is wrong": lambda folder: _flip(newest(folder), -10),
    "a bit of a weight in the newest checkpoint is wrong": lambda folder: _flip_a_weight(newest(folder)),
    "the newest checkpoint is text": lambda folder: newest(folder).write_text("hello\n"),
    "the newest checkpoint is hostile": _hostile,
    "the newest checkpoint is of another program": lambda folder: torch.save({"a": 1}, newest(folder)),
    "the newest checkpoint is lost": lambda folder: newest(folder).unlink(),
    "all checkpoints are damaged": _all_damaged,
    "all checkpoints are lost": lambda folder: shutil.rmtree(folder.checkpoints),
}


@pytest.mark.parametrize("accident", ACCIDENTS.values(), ids=ACCIDENTS)
def test_after_any_accident_a_run_comes_to_the_same_result(recipe, copied, finished, accident):
    accident(copied)
    run = TrainingRun(recipe, copied)
    assert_log_and_records_agree(copied)
    list(run)
    assert_same_result(copied, finished)
    assert_log_and_records_agree(copied)
    assert not (copied.root / "trace").exists()


def test_a_damaged_checkpoint_is_named_in_a_warning(recipe, copied, caplog):
    damaged = newest(copied)
    _torn(damaged)
    TrainingRun(recipe, copied)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{damaged} is damaged or not a checkpoint" in record.getMessage()
    assert "using the one before it" in record.getMessage()


def test_a_checkpoint_of_a_newer_version_is_not_used(recipe, copied, caplog):
    path = newest(copied)
    torch.save({**load_checkpoint(path), "schema": 99}, path)
    assert len(TrainingRun(recipe, copied).reports) < 3
    assert "was written by a newer version of thaw (schema 99, newest known here: 1)" in caplog.text


def test_a_folder_of_another_data_set_is_refused_and_left_alone(make_recipe, copied):
    before = content_of(copied)
    recipe = make_recipe(data={"image_size": 64}, stages=[stage("head", "head", 1)])
    with pytest.raises(ValueError, match="the checkpoint was made with other data"):
        TrainingRun(recipe, copied)
    assert content_of(copied) == before


# --- owners and failures --------------------------------------------------------------------------------------------


def content_of(folder):
    return {str(p.relative_to(folder.root)): p.read_bytes() for p in folder.root.rglob("*") if p.is_file()}


class Ownership:
    """Lost after some more checks."""

    def __init__(self):
        self.checks_left = 1000
        self.error: BaseException = SupersededError("attempt 2 has taken over")

    def __call__(self):
        self.checks_left -= 1
        if self.checks_left < 0:
            raise self.error


def test_a_run_that_lost_its_folder_writes_nothing_more(recipe, copied):
    ownership = Ownership()
    run = TrainingRun(recipe, copied, check_ownership=ownership)
    before = content_of(copied)
    ownership.checks_left = 0
    with pytest.raises(SupersededError, match="attempt 2 has taken over"):
        next(run)
    assert content_of(copied) == before


def test_a_run_that_never_owned_its_folder_writes_nothing(recipe, copied, tmp_path):
    ownership = Ownership()
    ownership.checks_left = 0
    before = content_of(copied)
    for folder in (copied, TrialLayout(tmp_path / "new")):
        with pytest.raises(SupersededError, match="attempt 2 has taken over"):
            TrainingRun(recipe, folder, check_ownership=ownership)
    assert content_of(copied) == before
    assert not (tmp_path / "new").exists()


def computing(recipe):
    """The same run, which reads its images in each epoch."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"prefix_cache": False})})


def failing_dataset(recipe):
    """Its images end before its labels do, as where a file was cut: training fails in the middle of an epoch."""
    dataset = open_dataset(recipe.data)
    return dataclasses.replace(dataset, images=dataset.images[: len(dataset.images) // 2])


def test_a_failing_epoch_leaves_its_traceback_and_costs_no_other_epoch(recipe, copied, finished):
    run = TrainingRun(computing(recipe), copied, dataset=failing_dataset(recipe))
    before = content_of(copied)
    with pytest.raises(IndexError, match="out of bounds"):
        next(run)
    after = content_of(copied)
    error = after.pop("error.txt").decode()
    assert after == before
    assert "IndexError" in error
    assert "trainer.py" in error
    list(TrainingRun(recipe, copied))
    assert not copied.error.exists()
    assert_same_result(copied, finished)


def test_a_failing_run_that_lost_its_folder_leaves_no_traceback_there(recipe, copied):
    ownership = Ownership()
    run = TrainingRun(computing(recipe), copied, dataset=failing_dataset(recipe), check_ownership=ownership)
    ownership.checks_left = 0
    with pytest.raises(SupersededError, match="attempt 2 has taken over"):
        next(run)
    assert not copied.error.exists()


def test_ctrl_c_is_no_failure(recipe, copied):
    ownership = Ownership()
    run = TrainingRun(recipe, copied, check_ownership=ownership)
    ownership.checks_left, ownership.error = 0, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        next(run)
    assert not copied.error.exists()


def test_a_run_that_diverges_ends_and_stays_ended(make_recipe, tmp_path):
    folder = TrialLayout(tmp_path / "run")
    recipe = make_recipe(stages=[stage("all", "all", 4, head_lr=1e30, backbone_lr=1e30)])
    reports = list(TrainingRun(recipe, folder))
    assert (reports[-1].flags[0], reports[-1].stopped_for) == ("nan", "nan")
    again = TrainingRun(recipe, folder)
    assert list(again) == []
    assert again.reports[-1]["train_loss"] is None
    assert [report["epoch"] for report in again.reports] == [report.epoch for report in reports]
