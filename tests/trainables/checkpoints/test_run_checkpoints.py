"""A run's checkpoints as it goes on: which are written and stay, what is registered, what an interruption costs."""

import json
from contextlib import closing
from itertools import pairwise

import pytest
import torch

from tests.support import checkpointed_runs
from tests.support.checkpointed_runs import TWO, WORSE, no_space
from trainables.checkpoints import run_checkpoints
from trainables.checkpoints.checkpoint_file import CheckpointError, load_checkpoint, scored_weights, verify
from trainables.checkpoints.checkpoint_folder import CheckpointFolder, epoch_of
from trainables.data.dataset import open_dataset
from trainables.run_folder.checkpoint_registry import config_hash, read_registry
from trainables.run_folder.epoch_report import OF_THE_MACHINE, read_epochs
from trainables.run_folder.layout import RunFileError, TrialLayout
from trainables.training.trainer import Trainer
from trainables.trial.training_run import TrainingRun

folder, recipe_of = checkpointed_runs.folder, checkpointed_runs.recipe_of  # fixtures


def on_disk(folder):
    return sorted(CheckpointFolder(folder.checkpoints).files)


def timeless(reports):
    return [
        {key: value for key, value in report.items() if key not in (*OF_THE_MACHINE, "checkpoint")}
        for report in reports
    ]


# --- what is written, what stays, what is registered ----------------------------------------------------------------


def test_best_milestones_and_the_last_ones_stay(recipe_of, folder):
    recipe = recipe_of(milestones=["1%", 3], keep_last=1)
    best = [report.best_epoch for report in TrainingRun(recipe, folder)][-1]
    assert on_disk(folder) == sorted({1, 3, best, 6})


def test_a_registry_tells_of_every_checkpoint_and_agrees_with_the_files(recipe_of, folder):
    recipe = recipe_of(TWO, milestones=["50%"])
    reports = [json.loads(report.to_json()) for report in TrainingRun(recipe, folder)]
    entries = read_registry(folder.registry)
    assert [entry.epoch for entry in entries] == [1, 2, 3, 4]
    for entry, report in zip(entries, reports, strict=True):
        assert (entry.file, entry.stage, entry.time) == (report["checkpoint"], report["stage"], report["time"])
        assert (entry.score, entry.val_loss, entry.train_loss) == tuple(
            report[k] for k in ("score", "val_loss", "train_loss")
        )
        assert entry.metrics["kappa"] == report["kappa"]
        assert entry.best == (report["best_epoch"] == report["epoch"])
        assert entry.config == config_hash(recipe.model_dump(mode="json"))
        assert set(entry.blocks) == ({"head"} if entry.epoch < 3 else {"features.8", "head"})
    assert [entry.milestone for entry in entries] == [None, "50%", None, None]
    assert [entry.step for entry in entries] == [3, 6, 9, 12], "46 images in batches of 16"
    for path in CheckpointFolder(folder.checkpoints).files.values():
        (entry,) = (entry for entry in entries if entry.file == path.name)
        assert entry.size == path.stat().st_size
        verify(path, entry.checksum)


def test_the_registry_measures_how_blocks_move(recipe_of, folder):
    run = TrainingRun(recipe_of(TWO), folder)
    weights = []
    for _ in run:
        weights.append({name: tensor.clone() for name, tensor in run.trainer.model.state_dict().items()})
    norms = [entry.blocks["head"].norm for entry in read_registry(folder.registry)]
    changes = [entry.blocks["head"].change for entry in read_registry(folder.registry)]
    flat = [torch.cat([t.flatten() for name, t in w.items() if name.startswith("head.")]) for w in weights]
    assert norms == pytest.approx([float(vector.norm()) for vector in flat], rel=1e-5)
    assert changes[1:] == pytest.approx([float((b - a).norm() / b.norm()) for a, b in pairwise(flat)], rel=1e-4)
    opened = [entry.blocks.get("features.8") for entry in read_registry(folder.registry)]
    assert opened[:2] == [None, None]
    assert opened[2].change is None, "frozen until then"
    assert opened[3].change > 0


def test_a_checkpoint_says_where_it_comes_from(recipe_of, folder):
    recipe = recipe_of()
    with closing(TrainingRun(recipe, folder)) as run:
        next(run)
    state = load_checkpoint(CheckpointFolder(folder.checkpoints).named("1"))
    assert state["recipe"] == recipe.model_dump(mode="json")
    assert state["software"]["torch"] == torch.__version__
    assert "project_commit" in state["software"]
    assert state["report"] == read_epochs(folder.epochs)[0]
    assert state["trainer"]["steps"] == 3


def _lost(folder):
    folder.registry.unlink()


def _torn(folder):
    folder.registry.write_bytes(folder.registry.read_bytes()[:-30])


def _not_json(folder):
    folder.registry.write_text("hello\n" + folder.registry.read_text())


def _wrong_types(folder):
    folder.registry.write_text('{"epoch": "../../etc"}\n' * 2)


def _killed_before_registering(folder):
    lines = folder.registry.read_text().splitlines(keepends=True)
    folder.registry.write_text("".join(lines[:-1]))


@pytest.mark.parametrize("accident", [_lost, _torn, _not_json, _wrong_types, _killed_before_registering])
def test_a_registry_is_put_right_from_the_files(recipe_of, folder, accident):
    recipe = recipe_of(milestones=[1, 3])
    with closing(TrainingRun(recipe, folder)) as run:
        for _ in range(4):
            next(run)
    before = {entry.epoch: entry for entry in read_registry(folder.registry)}
    accident(folder)
    TrainingRun(recipe, folder)
    after = {entry.epoch: entry for entry in read_registry(folder.registry)}
    assert set(on_disk(folder)) <= after.keys() <= before.keys()
    for epoch in on_disk(folder):
        measured = {"blocks", "save_s"}
        assert after[epoch].model_dump(exclude=measured) == before[epoch].model_dump(exclude=measured)
        assert after[epoch].blocks["head"].norm == pytest.approx(before[epoch].blocks["head"].norm)


def test_a_registry_forgets_epochs_that_are_done_again(recipe_of, folder):
    recipe = recipe_of(keep_last=9)
    with closing(TrainingRun(recipe, folder)) as run:
        for _ in range(4):
            next(run)
    CheckpointFolder(folder.checkpoints).named("4").write_bytes(b"")
    TrainingRun(recipe, folder)
    assert [entry.epoch for entry in read_registry(folder.registry)] == [1, 2, 3]


# --- every n-th, and what an interruption costs ---------------------------------------------------------------------


def test_only_epochs_that_are_due_are_written(recipe_of, folder):
    reports = list(TrainingRun(recipe_of(save_every_epochs=4, keep_last=9, milestones=[]), folder))
    due = {report.epoch for report in reports if report.best_epoch == report.epoch} | {4, 6}
    assert set(on_disk(folder)) == due
    assert len(due) < 6, "some epoch is neither"
    assert {report.epoch for report in reports if report.checkpoint} == due
    assert all(line["checkpoint"] is None for line in read_epochs(folder.epochs)), "most will be rotated out"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_whatever_stops_a_run_in_an_epoch_the_one_before_is_on_disk(recipe_of, folder, error, monkeypatch):
    whole = TrialLayout(folder.root.with_name("whole"))
    recipe = recipe_of(WORSE, save_every_epochs=100, milestones=[])
    list(TrainingRun(recipe, whole))
    run = TrainingRun(recipe, folder)
    for _ in range(4):
        next(run)
    assert max(on_disk(folder)) < 4

    def stopped(*_args, **_kwargs):
        raise error("in the middle of an epoch")

    monkeypatch.setattr(run.trainer, "_validate", stopped)
    with pytest.raises(error, match=r"in the middle|memory ran out"):
        next(run)
    assert max(on_disk(folder)) == 4
    assert folder.error.exists() == (error is not KeyboardInterrupt)
    again = TrainingRun(recipe, folder)
    assert [report.epoch for report in again] == [5, 6]
    assert timeless(read_epochs(folder.epochs)) == timeless(read_epochs(whole.epochs))


@pytest.mark.parametrize(("during", "left"), [("state_dict", 4), ("write_state", 5)])
def test_ctrl_c_while_a_checkpoint_is_made_leaves_it_or_the_one_before_on_disk(
    recipe_of, folder, monkeypatch, during, left
):
    run = TrainingRun(recipe_of(WORSE, save_every_epochs=100, milestones=[]), folder)
    for _ in range(4):
        next(run)

    def stopped(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(run.trainer if during == "state_dict" else run_checkpoints, during, stopped)
    with pytest.raises(KeyboardInterrupt):
        next(run)
    assert max(on_disk(folder)) == left
    assert [report["epoch"] for report in read_epochs(folder.epochs)] == list(range(1, left + 1))


def test_a_run_that_is_closed_between_epochs_has_its_last_one_on_disk(recipe_of, folder):
    recipe = recipe_of(WORSE, save_every_epochs=100, milestones=[])
    with closing(TrainingRun(recipe, folder)) as run:
        for _ in range(3):
            next(run)
        assert max(on_disk(folder)) < 3
    assert max(on_disk(folder)) == 3
    assert [entry.epoch for entry in read_registry(folder.registry)][-1] == 3
    assert len(TrainingRun(recipe, folder).reports) == 3


def test_a_full_disk_does_not_hide_what_stopped_the_run(recipe_of, folder, monkeypatch, caplog):
    with closing(TrainingRun(recipe_of(WORSE, save_every_epochs=100, milestones=[]), folder)) as run:
        for _ in range(3):
            next(run)
        with monkeypatch.context() as patched:
            patched.setattr(run._checkpoints.folder, "save", no_space)
            patched.setattr(run.trainer, "_validate", _fails)
            with pytest.raises(RuntimeError, match="what went wrong first"):
                next(run)
    assert "could not be saved: no space left" in caplog.text


def _fails(*_args, **_kwargs):
    raise RuntimeError("what went wrong first")


# --- going on from a named one --------------------------------------------------------------------------------------


def test_a_run_goes_on_from_a_named_checkpoint_and_comes_out_the_same(recipe_of, folder):
    recipe = recipe_of(keep_last=9)
    list(TrainingRun(recipe, folder))
    before = timeless(read_epochs(folder.epochs))
    run = TrainingRun(recipe, folder, resume_from="2")
    assert (len(run.reports), on_disk(folder)) == (2, [1, 2])
    assert [entry.epoch for entry in read_registry(folder.registry)] == [1, 2]
    assert [report.epoch for report in run] == [3, 4, 5, 6]
    assert timeless(read_epochs(folder.epochs)) == before


def test_a_named_checkpoint_that_cannot_be_used_is_not_replaced_by_another(recipe_of, folder):
    recipe = recipe_of(keep_last=9)
    list(TrainingRun(recipe, folder))
    CheckpointFolder(folder.checkpoints).named("3").write_bytes(b"PK")
    for which, message in (
        ("3", "is damaged or not a checkpoint"),
        ("17", r"has no checkpoint '17'; available: best, newest"),
    ):
        with pytest.raises(RunFileError, match=message):
            TrainingRun(recipe, folder, resume_from=which)
    assert on_disk(folder) == [1, 2, 3, 4, 5, 6]


def test_checkpoints_have_names(recipe_of, folder):
    best = [report.best_epoch for report in TrainingRun(recipe_of(keep_last=9), folder)][-1]
    checkpoints = CheckpointFolder(folder.checkpoints)
    assert epoch_of(checkpoints.named("best")) == epoch_of(checkpoints.best()) == best
    assert epoch_of(checkpoints.named("newest")) == 6
    assert epoch_of(checkpoints.named("0004")) == epoch_of(checkpoints.named("4")) == 4
    assert checkpoints.named(checkpoints.named("4").name) == checkpoints.named("4")
    for which in ("0", "../4", "/etc/passwd", ""):
        with pytest.raises(CheckpointError, match="has no checkpoint"):
            checkpoints.named(which)


@pytest.mark.parametrize("judge", ["ema", "raw"])
def test_the_scored_weights_predict_what_was_judged(recipe_of, folder, judge):
    recipe = recipe_of(TWO, ema={"decay": 0.9, "judge": judge}, keep_last=9)
    with closing(TrainingRun(recipe, folder)) as run:
        for _ in range(3):
            next(run)
    weights = scored_weights(load_checkpoint(CheckpointFolder(folder.checkpoints).named("3")))
    fresh = Trainer(recipe, open_dataset(recipe.data)).model
    missing, unexpected = fresh.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.startswith(tuple(f"blocks.{i}." for i in range(8))) for name in missing)
    ours, theirs = fresh.tail(8).state_dict(), run.trainer._active.scored_tail.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
