"""A run that begins where another one was comes to what it would have come to by itself."""

import shutil

import pytest
import torch

from trainables.checkpoints.checkpoint_file import load_checkpoint
from trainables.run_folder.epoch_report import OF_THE_MACHINE, read_epochs
from trainables.run_folder.layout import TrialLayout
from trainables.trial.start_from_parent import fork
from trainables.trial.training_run import TrainingRun

EPOCHS, AFTER = 5, 3
CHANGE = {"after_epoch": AFTER, "set": {"train.stages[*].head_lr": 0.2}}


@pytest.fixture
def recipe_of(own_module, make_recipe):
    """`recipe_of(*changes)`: five epochs of a tiny network, whose checkpoints all stay."""
    backbone = f"{own_module()}:tiny"
    stages = [
        {"name": "top", "unfreeze_from": "three", "epochs": 2, "plateau": None, "head_lr": 0.05},
        {"name": "all", "unfreeze_from": "all", "epochs": 3, "plateau": None, "head_lr": 0.05},
    ]
    train = {"stages": stages, "checkpoints": {"keep_every_epochs": 1}, "stop_on": []}
    return lambda *changes: make_recipe(model={"backbone": backbone}, changes=list(changes), **train)


@pytest.fixture
def parent(recipe_of, tmp_path):
    folder = TrialLayout(tmp_path / "parent")
    list(TrainingRun(recipe_of(), folder))
    return folder


@pytest.fixture
def alone(recipe_of, tmp_path):
    """The child as it is trained from scratch."""
    folder = TrialLayout(tmp_path / "alone")
    list(TrainingRun(recipe_of(CHANGE), folder))
    return folder


@pytest.fixture
def child(tmp_path):
    return TrialLayout(tmp_path / "child")


def timeless(folder):
    return [{k: v for k, v in r.items() if k not in OF_THE_MACHINE} for r in read_epochs(folder.epochs)]


def checkpoint(folder, epoch):
    (file,) = folder.checkpoints.glob(f"{epoch:04d}_*.pt")
    return file


def assert_same(one, other):
    assert timeless(one) == timeless(other)
    weights, others = (load_checkpoint(checkpoint(folder, EPOCHS))["trainer"]["weights"] for folder in (one, other))
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def begin(parent, child, recipe):
    """What is inherited, and the run."""
    fork(parent, child, recipe, after_epoch=AFTER)
    run = TrainingRun(recipe, child)
    return [report["epoch"] for report in run.reports if report["inherited"]], run


def test_a_forked_run_is_the_same_as_one_from_scratch(parent, alone, child, recipe_of):
    inherited, run = begin(parent, child, recipe_of(CHANGE))
    assert (inherited, [report.epoch for report in run]) == ([1, 2, 3], [4, 5])
    assert_same(child, alone)
    assert timeless(child)[AFTER:] != timeless(parent)[AFTER:]


def test_what_is_inherited_has_taken_no_time_here(parent, child, recipe_of):
    _, run = begin(parent, child, recipe_of(CHANGE))
    list(run)
    reports = read_epochs(child.epochs)
    assert [report["inherited"] for report in reports] == [True] * 3 + [False] * 2
    assert all(report[name] == 0 for report in reports[:3] for name in ("train_s", "val_s", "cache_s"))
    assert all(report["train_s"] > 0 for report in [*reports[3:], *read_epochs(parent.epochs)])


def test_the_best_epoch_comes_along_so_that_it_can_be_exported(parent, child, recipe_of):
    _, run = begin(parent, child, recipe_of(CHANGE))
    assert checkpoint(child, run.reports[-1]["best_epoch"]).is_file()


@pytest.mark.parametrize(
    ("lost", "inherited"),
    [((3,), [1, 2]), ((2, 3), [1]), ((1, 2, 3), []), ((1, 2, 3, 4, 5), [])],
)
@pytest.mark.parametrize("damaged", [False, True])
def test_where_checkpoints_are_lost_the_child_does_it_again_and_comes_to_the_same(
    parent, alone, child, recipe_of, lost, inherited, damaged
):
    for epoch in lost:
        file = checkpoint(parent, epoch)
        file.write_bytes(file.read_bytes()[:-40]) if damaged else file.unlink()
    best = {report["epoch"]: report["best_epoch"] for report in read_epochs(parent.epochs)}
    possible = [epoch for epoch in range(1, AFTER + 1) if not {epoch, best[epoch]} & set(lost)]
    taken, run = begin(parent, child, recipe_of(CHANGE))
    assert taken == list(range(1, max(possible, default=0) + 1))
    assert len(taken) <= len(inherited)
    list(run)
    assert_same(child, alone)


def test_a_parent_that_is_gone_leaves_it_all_to_the_child(alone, child, recipe_of, tmp_path):
    inherited, run = begin(TrialLayout(tmp_path / "gone"), child, recipe_of(CHANGE))
    assert inherited == []
    list(run)
    assert_same(child, alone)


def test_a_child_that_has_begun_goes_on_by_itself(parent, alone, child, recipe_of):
    _, run = begin(parent, child, recipe_of(CHANGE))
    next(run)
    run.close()
    shutil.rmtree(parent.root)
    inherited, run = begin(parent, child, recipe_of(CHANGE))
    assert (inherited, [report.epoch for report in run]) == ([1, 2, 3], [5])
    assert_same(child, alone)


def test_a_kill_in_the_middle_costs_the_epochs_since_the_best_one(parent, alone, child, recipe_of, monkeypatch):
    """The best epoch's checkpoint is there, the last one's is not."""
    fork(parent, child, recipe_of(CHANGE), after_epoch=AFTER)
    best = read_epochs(child.epochs)[-1]["best_epoch"]
    if best != AFTER:
        checkpoint(child, AFTER).unlink()
    inherited, run = begin(parent, child, recipe_of(CHANGE))
    assert inherited == list(range(1, best + 1))
    list(run)
    assert_same(child, alone)
