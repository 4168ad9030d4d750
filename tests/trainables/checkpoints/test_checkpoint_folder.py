import io
import logging
import math
import pickle
from pathlib import Path

import pytest
import torch

from trainables.checkpoints.checkpoint_file import CheckpointError, load_checkpoint
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.checkpoints.policy import epochs_to_keep, is_due, milestone_of
from trainables.core.vocabulary import Metric
from trainables.data.dataset import open_dataset
from trainables.recipe.stage_config import Stage
from trainables.recipe.train_config import CheckpointPolicy
from trainables.run_folder.layout import SCHEMA_VERSION
from trainables.training.trainer import Trainer

NAN, INF = math.nan, math.inf
RISING = {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.5, 6: 0.6}
PEAK_AT_2 = {1: 0.1, 2: 0.9, 3: 0.3, 4: 0.4, 5: 0.3}


@pytest.mark.parametrize(
    ("scores", "policy", "metric", "kept"),
    [
        pytest.param({}, {}, "kappa", set(), id="nothing done"),
        pytest.param({1: 0.1}, {}, "kappa", {1}, id="one epoch"),
        pytest.param(RISING, {}, "kappa", {5, 6}, id="the newest is the best"),
        pytest.param(RISING, {"keep_last": 1}, "kappa", {6}, id="only the newest"),
        pytest.param(RISING, {"keep_last": 5}, "kappa", {2, 3, 4, 5, 6}, id="the last five"),
        pytest.param(RISING, {"keep_last": 9}, "kappa", set(RISING), id="more than there are"),
        pytest.param(PEAK_AT_2, {}, "kappa", {2, 4, 5}, id="newest and best"),
        pytest.param(PEAK_AT_2, {"keep_best": 2, "keep_last": 1}, "kappa", {2, 4, 5}, id="the two best"),
        pytest.param(PEAK_AT_2, {"keep_best": 3, "keep_last": 1}, "kappa", {2, 3, 4, 5}, id="of equals the earlier"),
        pytest.param(PEAK_AT_2, {"keep_best": 9}, "kappa", {1, 2, 3, 4, 5}, id="more best than there are"),
        pytest.param(PEAK_AT_2, {"keep_last": 1}, "val_loss", {1, 5}, id="a loss is best where it is lowest"),
        pytest.param(
            PEAK_AT_2, {"keep_best": 2, "keep_last": 1}, "val_loss", {1, 3, 5}, id="of equal losses the earlier"
        ),
        pytest.param(RISING, {"keep_every_epochs": 2, "keep_last": 1}, "kappa", {2, 4, 6}, id="each second one"),
        pytest.param(RISING, {"keep_every_epochs": 5, "keep_last": 1}, "val_loss", {1, 5, 6}, id="each fifth and best"),
        pytest.param(RISING, {"keep_every_epochs": 1}, "kappa", set(RISING), id="all"),
        pytest.param(
            PEAK_AT_2 | {6: 0.99},
            {"keep_every_epochs": 3, "keep_last": 1},
            "kappa",
            {2, 3, 6},
            id="the best up to each third",
        ),
        pytest.param({1: NAN, 2: 0.1, 3: NAN}, {"keep_last": 1}, "kappa", {2, 3}, id="NaN is never best"),
        pytest.param(
            {1: NAN, 2: NAN}, {"keep_best": 2, "keep_last": 1}, "kappa", {2}, id="nothing but NaN: the newest"
        ),
        pytest.param({1: INF, 2: 0.1}, {"keep_last": 1}, "val_loss", {2}, id="an infinite loss is the worst"),
        pytest.param({7: 0.5, 8: 0.1}, {}, "kappa", {7, 8}, id="not counted from 1"),
    ],
)
def test_the_epochs_whose_checkpoints_stay(scores, policy, metric, kept):
    assert epochs_to_keep(scores, CheckpointPolicy(**policy), Metric(metric)) == kept


def test_milestones_stay_also_the_one_that_is_the_best():
    policy = CheckpointPolicy(keep_last=1)
    assert epochs_to_keep(PEAK_AT_2, policy, Metric.KAPPA, permanent={2, 3}) == {2, 3, 5}
    later = PEAK_AT_2 | {6: 0.95}
    assert epochs_to_keep(later, policy, Metric.KAPPA, permanent={2}) == {2, 6}, "no longer the best, still a milestone"
    assert epochs_to_keep({5: 0.1}, policy, Metric.KAPPA, permanent={2}) == {5}, "one whose file is lost"


STAGES = [Stage(name="a", unfreeze_from="head", epochs=4), Stage(name="b", unfreeze_from="all", epochs=6)]
QUARTERS = ("25%", "50%", "75%", "100%")


def run_of(*epochs, finished=True):
    """Reports of epochs given by stage and epoch in it."""
    count = len(epochs)
    return [
        {"epoch": n, "stage_index": stage, "epoch_in_stage": at, "finished": finished and n == count, "best_epoch": 1}
        for n, (stage, at) in enumerate(epochs, start=1)
    ]


WHOLE = run_of(*((0, at) for at in range(1, 5)), *((1, at) for at in range(1, 7)))
EARLY = run_of((0, 1), (0, 2), (1, 1), (1, 2), (1, 3))
"""The first stage ends on its plateau, the last one early."""


@pytest.mark.parametrize(
    ("reports", "milestones", "reached"),
    [
        pytest.param(WHOLE, QUARTERS, {3: "25%", 5: "50%", 8: "75%", 10: "100%"}, id="quarters of ten epochs"),
        pytest.param(WHOLE, (2, 7, 99), {2: "2", 7: "7"}, id="epochs"),
        pytest.param(WHOLE, (5, "50%"), {5: "50%"}, id="both in one epoch"),
        pytest.param(WHOLE, ("1%", "2%", "9%"), {1: "9%"}, id="several in one epoch"),
        pytest.param(WHOLE, (), {}, id="none"),
        pytest.param(EARLY, QUARTERS, {3: "50%", 5: "100%"}, id="by the plan where a stage ended early"),
        pytest.param(WHOLE[:-1], QUARTERS, {3: "25%", 5: "50%", 8: "75%"}, id="not over yet"),
    ],
)
def test_the_milestones_of_a_run(reports, milestones, reached):
    policy = CheckpointPolicy(milestones=milestones)
    found = {
        report["epoch"]: milestone_of(report, before, policy, STAGES)
        for before, report in zip([None, *reports], reports, strict=False)
    }
    assert {epoch: name for epoch, name in found.items() if name} == reached


@pytest.mark.parametrize(
    ("policy", "report", "milestone", "due"),
    [
        ({}, {"epoch": 3}, None, True),
        ({"save_every_epochs": 5}, {"epoch": 3}, None, False),
        ({"save_every_epochs": 5}, {"epoch": 10}, None, True),
        ({"save_every_epochs": 5}, {"epoch": 3, "best_epoch": 3}, None, True),
        ({"save_every_epochs": 5}, {"epoch": 3}, "50%", True),
        ({"save_every_epochs": 5}, {"epoch": 3, "finished": True}, None, True),
        ({"save_every_epochs": 5, "keep_every_epochs": 3}, {"epoch": 3}, None, True),
        ({"save_every_epochs": 5, "keep_every_epochs": 2}, {"epoch": 3}, None, False),
    ],
)
def test_the_epochs_that_are_written(policy, report, milestone, due):
    assert is_due({"best_epoch": 1, "finished": False} | report, milestone, CheckpointPolicy(**policy)) == due


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"milestones": ["0%"]}, "milestones"),
        ({"milestones": ["101%"]}, "milestones"),
        ({"milestones": [0]}, "milestones"),
        ({"milestones": ["half"]}, "milestones"),
        ({"keep_last": 0}, "keep_last"),
        ({"backup": "backups"}, "must be an absolute path or a URL"),
        ({"backup": "nowhere://x"}, "nowhere"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(policy, message):
    with pytest.raises(ValueError, match=message):
        CheckpointPolicy(**policy)


# --- files ----------------------------------------------------------------------------------------------------------

STATE = {
    "weights": {"w": torch.arange(12.0).reshape(3, 4), "n": torch.tensor(7)},
    "losses": [0.5, NAN, INF],
    "best": None,
    "name": "top",
}


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path / "checkpoints")


def name_of(epoch):
    return f"{epoch:04d}_head_kappa=0.5000.pt"


def save_epochs(folder, *epochs):
    for epoch in epochs:
        folder.save(name_of(epoch), {**STATE, "epoch": epoch})
    return [folder.folder / name_of(epoch) for epoch in epochs]


def test_what_is_saved_is_loaded(folder):
    (path,) = save_epochs(folder, 1)
    loaded = load_checkpoint(path)
    assert loaded["schema"] == SCHEMA_VERSION
    assert torch.equal(loaded["weights"]["w"], STATE["weights"]["w"])
    assert loaded["weights"]["n"].dtype == torch.int64
    assert loaded["losses"] == pytest.approx([0.5, NAN, INF], nan_ok=True)
    assert (loaded["best"], loaded["name"]) == (None, "top")
    assert list(folder.folder.iterdir()) == [path]


def test_the_newest_is_found_by_epoch(folder):
    assert folder.newest() is None
    save_epochs(folder, 9, 10, 10_000, 2)
    assert folder.newest()["epoch"] == 10_000


def test_only_the_epochs_to_keep_stay(folder):
    save_epochs(folder, 1, 2, 3, 12)
    (folder.folder / "notes.pt").touch()
    (folder.folder / "0002_notes.txt").touch()
    folder.remove_all_but({2, 12, 99})
    assert sorted(path.name for path in folder.folder.iterdir()) == [
        "0002_head_kappa=0.5000.pt",
        "0002_notes.txt",
        "0012_head_kappa=0.5000.pt",
        "notes.pt",
    ]


def test_an_epoch_done_again_has_one_file(folder):
    save_epochs(folder, 1, 2)
    folder.save("0002_head_kappa=0.6000.pt", STATE)
    assert sorted(path.name for path in folder.folder.iterdir()) == [name_of(1), "0002_head_kappa=0.6000.pt"]


def test_what_a_killed_process_left_half_written_is_removed(folder):
    kept = save_epochs(folder, 1)
    (folder.folder / ".0002_head_kappa=0.6000.pt.x1y2z3").write_bytes(b"PK")
    folder.remove_partial()
    assert list(folder.folder.iterdir()) == kept


def test_saving_that_fails_leaves_the_file_of_before(folder):
    (path,) = save_epochs(folder, 1)
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        folder.save(path.name, {**STATE, "bad": lambda: None})
    assert path.read_bytes() == before
    assert list(folder.folder.iterdir()) == [path]


class RunsCode:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def flipped(content, position):
    damaged = bytearray(content)
    damaged[position] ^= 1
    return bytes(damaged)


def at_a_weight(content):
    return content.index(STATE["weights"]["w"].numpy().tobytes()) + 7


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


DAMAGED = {
    "nothing": (lambda good: b"", "is damaged or not a checkpoint: "),
    "a first byte": (lambda good: good[:1], "is damaged or not a checkpoint: "),
    "half": (lambda good: good[: len(good) // 2], "is damaged or not a checkpoint: "),
    "all but the last byte": (lambda good: good[:-1], "is damaged or not a checkpoint: "),
    "a wrong first bit": (lambda good: flipped(good, 0), "is damaged or not a checkpoint: "),
    "a wrong bit in a weight": (lambda good: flipped(good, at_a_weight(good)), "checksum of .*data/0 is wrong"),
    "zeros, as after a power cut": (lambda good: bytes(len(good)), "is damaged or not a checkpoint: "),
    "text": (lambda good: b"hello\n", "is damaged or not a checkpoint: "),
    "an empty pickle": (lambda good: b"\x80\x02.", "is damaged or not a checkpoint: "),
    "a pickle": (lambda good: pickle.dumps({"schema": 1}), "is damaged or not a checkpoint: "),
    "another program's dictionary": (lambda good: saved({"model": {}}), "is not a checkpoint of a run"),
    "a tensor": (lambda good: saved(torch.zeros(3)), "is not a checkpoint of a run"),
    "a module": (lambda good: saved(torch.nn.Linear(1, 1)), "is not a checkpoint: it holds more than tensors"),
    "a newer version": (
        lambda good: saved({"schema": 99}),
        r"was written by a newer version of thaw \(schema 99, newest known here: 1\)",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_cannot_be_used_is_refused_and_the_one_before_it_used(folder, damage, message, caplog):
    good, bad = save_epochs(folder, 1, 2)
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(bad)
    assert str(caught.value).startswith(str(bad))
    assert "\n" not in str(caught.value)
    with caplog.at_level(logging.WARNING):
        assert folder.newest()["epoch"] == 1
    assert f"{caught.value}; using the one before it" in caplog.text
    bad.replace(good)
    assert folder.newest() is None


def test_no_single_wrong_bit_is_loaded_as_something_else(folder):
    (path,) = save_epochs(folder, 1)
    content = path.read_bytes()
    for position in range(0, len(content), 5):
        path.write_bytes(flipped(content, position))
        try:
            loaded = load_checkpoint(path)
        except CheckpointError:
            continue
        assert torch.equal(loaded["weights"]["w"], STATE["weights"]["w"]), position
        assert loaded["name"] == "top"


def test_a_hostile_checkpoint_runs_no_code_and_is_passed_over(folder, tmp_path):
    _, bad = save_epochs(folder, 1, 2)
    torch.save({"schema": 1, **STATE, "extra": RunsCode(tmp_path / "trace")}, bad)
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it holds more than tensors and plain values$"):
        load_checkpoint(bad)
    assert folder.newest()["epoch"] == 1
    assert not (tmp_path / "trace").exists()


def test_a_missing_file_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.pt is damaged or not a checkpoint: .*No such file"):
        load_checkpoint(tmp_path / "absent.pt")


# --- what is in them ------------------------------------------------------------------------------------------------


def stage(name, unfreeze_from):
    return {"name": name, "unfreeze_from": unfreeze_from, "epochs": 1, "plateau": None}


@pytest.mark.parametrize(
    ("stages", "first_changed"),
    [
        pytest.param([stage("a", "head")], 9, id="the head alone"),
        pytest.param([stage("a", "last:2")], 7, id="two blocks"),
        pytest.param([stage("a", "last:2"), stage("b", "head")], 7, id="blocks that changed earlier"),
    ],
)
def test_a_checkpoint_holds_the_weights_that_changed_and_no_others(make_recipe, folder, stages, first_changed):
    recipe = make_recipe(data={"validation": 0.02}, stages=stages)
    trainer = Trainer(recipe, open_dataset(recipe.data))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    list(trainer)
    folder.save(name_of(1), {"trainer": trainer.state_dict()})
    weights = folder.newest()["trainer"]["weights"]
    parts = (*(f"blocks.{i}." for i in range(first_changed, 9)), "head.")
    assert set(weights) == {name for name in before if name.startswith(parts)}
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, weights.get(name, before[name])), name


def test_a_head_only_checkpoint_is_small(make_recipe, folder):
    recipe = make_recipe(data={"validation": 0.02}, stages=[stage("a", "head")])
    trainer = Trainer(recipe, open_dataset(recipe.data))
    next(trainer)
    folder.save(name_of(1), {"trainer": trainer.state_dict()})
    size = (folder.folder / name_of(1)).stat().st_size
    head_bytes = 4 * (1280 * 10 + 10)
    assert size < 3 * head_bytes + 20_000, "weights, momentum and the stage's best, and little else"
    assert size < len(saved(trainer.model.state_dict())) / 50
