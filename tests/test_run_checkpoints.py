"""A run's checkpoints as it goes on: which are written and stay, what is registered, what an interruption costs, copies."""

import json
import logging
import re
import zipfile
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import fsspec
import pytest
import torch
from fsspec.implementations import local

from trainables import checkpoint_file, run_checkpoints
from trainables.backup import BackupError, back_up
from trainables.checkpoint_file import CheckpointError, checksum_of, load_checkpoint, verify
from trainables.checkpoints import CheckpointFolder, epoch_of, judged_weights
from trainables.data.dataset import open_dataset
from trainables.layout import RunFileError, TrialLayout
from trainables.registry import config_hash, read_registry
from trainables.report import OF_THE_MACHINE, read_epochs
from trainables.run import TrainingRun
from trainables.trainer import Trainer

FEW = {"validation": 0.02}


def stage(name, unfreeze_from, epochs, **fields):
    return {"name": name, "unfreeze_from": unfreeze_from, "epochs": epochs, "plateau": None, "head_lr": 0.05} | fields


HEAD = [stage("head", "head", 6)]
TWO = [stage("head", "head", 2), stage("top", "last:1", 2, head_frozen_epochs=0)]


@pytest.fixture
def folder(tmp_path):
    return TrialLayout(tmp_path / "runs" / "small-20260101-000000")


@pytest.fixture
def recipe_of(make_recipe):
    """`recipe_of(stages, **policy)`: a run of a second with that policy of checkpoints."""

    def make(stages=HEAD, *, ema=None, **policy):
        metric = "val_loss" if stages is WORSE else "balanced_accuracy"
        return make_recipe(data=FEW, stages=stages, checkpoints=policy, ema=ema, early_stop=None, metric=metric)

    return make


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
        assert after[epoch].model_dump(exclude={"blocks"}) == before[epoch].model_dump(exclude={"blocks"})
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
    reports = list(TrainingRun(recipe_of(save_every_epochs=4, keep_last=9), folder))
    due = {report.epoch for report in reports if report.best_epoch == report.epoch} | {4, 6}
    assert set(on_disk(folder)) == due
    assert len(due) < 6, "some epoch is neither"
    assert {report.epoch for report in reports if report.checkpoint} == due
    assert [bool(line["checkpoint"]) for line in read_epochs(folder.epochs)] == [r.epoch in due for r in reports]


WORSE = [stage("head", "head", 2), stage("worse", "head", 4, head_lr=50.0)]
"""Nothing is best after the second epoch."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_whatever_stops_a_run_in_an_epoch_the_one_before_is_on_disk(recipe_of, folder, error, monkeypatch):
    whole = TrialLayout(folder.root.with_name("whole"))
    recipe = recipe_of(WORSE, save_every_epochs=100)
    list(TrainingRun(recipe, whole))
    run = TrainingRun(recipe, folder)
    for _ in range(4):
        next(run)
    assert max(on_disk(folder)) < 4

    def stopped(*_args, **_kwargs):
        raise error("in the middle of an epoch")

    monkeypatch.setattr(run.trainer, "_validate", stopped)
    with pytest.raises(error, match="in the middle"):
        next(run)
    assert max(on_disk(folder)) == 4
    assert folder.error.exists() == (error is not KeyboardInterrupt)
    again = TrainingRun(recipe, folder)
    assert [report.epoch for report in again] == [5, 6]
    assert timeless(read_epochs(folder.epochs)) == timeless(read_epochs(whole.epochs))


def test_ctrl_c_while_the_next_checkpoint_is_made_leaves_the_one_before_on_disk(recipe_of, folder, monkeypatch):
    run = TrainingRun(recipe_of(WORSE, save_every_epochs=100), folder)
    for _ in range(4):
        next(run)

    def stopped(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_checkpoints, "write_state", stopped)
    with pytest.raises(KeyboardInterrupt):
        next(run)
    assert max(on_disk(folder)) == 4


def test_a_run_that_is_closed_between_epochs_has_its_last_one_on_disk(recipe_of, folder):
    recipe = recipe_of(WORSE, save_every_epochs=100)
    with closing(TrainingRun(recipe, folder)) as run:
        for _ in range(3):
            next(run)
        assert max(on_disk(folder)) < 3
    assert max(on_disk(folder)) == 3
    assert [entry.epoch for entry in read_registry(folder.registry)][-1] == 3
    assert len(TrainingRun(recipe, folder).reports) == 3


def test_a_full_disk_does_not_hide_what_stopped_the_run(recipe_of, folder, monkeypatch, caplog):
    with closing(TrainingRun(recipe_of(WORSE, save_every_epochs=100), folder)) as run:
        for _ in range(3):
            next(run)
        with monkeypatch.context() as patched:
            patched.setattr(run._checkpoints.folder, "save", _no_space)
            patched.setattr(run.trainer, "_validate", _fails)
            with pytest.raises(RuntimeError, match="what went wrong first"):
                next(run)
    assert "could not be written: no space left" in caplog.text


def _no_space(*_args, **_kwargs):
    raise OSError("no space left")


def _fails(*_args, **_kwargs):
    raise RuntimeError("what went wrong first")


# --- going on from a named one --------------------------------------------------------------------------------------


def test_a_run_goes_on_from_a_named_checkpoint_and_comes_out_the_same(recipe_of, folder):
    recipe = recipe_of(keep_last=9)
    list(TrainingRun(recipe, folder))
    before = timeless(read_epochs(folder.epochs))
    run = TrainingRun(recipe, folder, go_on_from="2")
    assert (len(run.reports), on_disk(folder)) == (2, [1, 2])
    assert [entry.epoch for entry in read_registry(folder.registry)] == [1, 2]
    assert [report.epoch for report in run] == [3, 4, 5, 6]
    assert timeless(read_epochs(folder.epochs)) == before


def test_a_named_checkpoint_that_cannot_be_used_is_not_replaced_by_another(recipe_of, folder):
    recipe = recipe_of(keep_last=9)
    list(TrainingRun(recipe, folder))
    CheckpointFolder(folder.checkpoints).named("3").write_bytes(b"PK")
    for which, message in (
        ("3", "is damaged or no checkpoint"),
        ("17", r"has no checkpoint '17'; there are best, newest"),
    ):
        with pytest.raises(RunFileError, match=message):
            TrainingRun(recipe, folder, go_on_from=which)
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
def test_the_judged_weights_predict_what_was_judged(recipe_of, folder, judge):
    recipe = recipe_of(TWO, ema={"decay": 0.9, "judge": judge}, keep_last=9)
    with closing(TrainingRun(recipe, folder)) as run:
        for _ in range(3):
            next(run)
    weights = judged_weights(load_checkpoint(CheckpointFolder(folder.checkpoints).named("3")))
    fresh = Trainer(recipe, open_dataset(recipe.data)).model
    missing, unexpected = fresh.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.startswith(tuple(f"blocks.{i}." for i in range(8))) for name in missing)
    ours, theirs = fresh.tail(8).state_dict(), run.trainer._active.judged.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


# --- files: small, and not to be trusted ----------------------------------------------------------------------------


def test_a_file_holds_the_best_weights_once_while_they_are_the_current_ones(recipe_of, folder):
    list(TrainingRun(recipe_of(WORSE, keep_last=9), folder))
    head, sizes = 4 * 10 * (1280 + 1), {True: set(), False: set()}
    for path in CheckpointFolder(folder.checkpoints).files.values():
        state = load_checkpoint(path)
        sizes[state["trainer"]["stage"]["best"]["score"] == state["report"]["score"]].add(path.stat().st_size // head)
    assert sizes == {True: {2}, False: {3}}, "weights and momentum; and the best where they are others"


def test_compressed_files_are_smaller_and_load_the_same(recipe_of, folder):
    plain = TrialLayout(folder.root.with_name("plain"))
    list(TrainingRun(recipe_of(TWO), plain))
    list(TrainingRun(recipe_of(TWO, compress=True), folder))
    ours, theirs = (CheckpointFolder(run.checkpoints).named("newest") for run in (folder, plain))
    assert ours.stat().st_size < 0.95 * theirs.stat().st_size
    assert {part.compress_type for part in zipfile.ZipFile(ours).infolist()} == {zipfile.ZIP_DEFLATED}
    a, b = (load_checkpoint(path)["trainer"]["weights"] for path in (ours, theirs))
    assert all(torch.equal(a[name], b[name]) for name in b)
    assert len(TrainingRun(recipe_of(TWO, compress=True), folder).reports) == 4


def test_a_checksum_names_the_content_however_it_is_packed(tmp_path):
    state = {"w": torch.arange(5000.0)}
    for name, compress in (("a", False), ("b", True)):
        with (tmp_path / name).open("wb") as file:
            checkpoint_file.write_state(file, state, compress=compress)
    assert checksum_of(tmp_path / "a") == checksum_of(tmp_path / "b")
    with (tmp_path / "c").open("wb") as file:
        checkpoint_file.write_state(file, {"w": torch.arange(5000.0) + 1})
    with pytest.raises(CheckpointError, match="is another file than was registered under its name"):
        verify(tmp_path / "c", checksum_of(tmp_path / "a"))
    verify(tmp_path / "c")


class RunsCode:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data/0", "w") as part:
        for _ in range(100):
            part.write(bytes(2**20))


def deep_list(path, depth=100_000):
    with zipfile.ZipFile(path) as good:
        parts = {name: good.read(name) for name in good.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(
                name, b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"." if "data.pkl" in name else part
            )


def changed(key, value):
    """Puts something else at a dotted place of a good checkpoint."""

    def change(state, path):
        *way, last = key.split(".")
        place = state
        for step in way:
            place = place[step]
        place[last] = value
        torch.save(state, path)

    return change


HOSTILE = {
    "a pickle that runs code": (
        lambda state, path: torch.save({**state, "x": RunsCode(path.parent / "trace")}, path),
        "it holds more than tensors and plain values",
    ),
    "a zip bomb": (lambda state, path: zip_bomb(path), r"would unpack to 104,857,600"),
    "one number that claims to be a terabyte": (
        changed("trainer.weights.x", torch.zeros(1).expand(2**38)),
        r"a tensor of shape \(274877906944,\) that the file does not hold",
    ),
    "a sparse tensor": (
        changed("x", torch.sparse_coo_tensor(size=(2**40,), check_invariants=True)),
        "a tensor of shape",
    ),
    "a schema that is no number": (changed("schema", "1"), "is no checkpoint of a run"),
    "no trainer": (lambda state, path: torch.save({**state, "trainer": None}, path), "is no checkpoint of this run"),
    "weights of another network": (
        changed("trainer.weights.x", torch.zeros(3)),
        "is no checkpoint of this run",
    ),
    "a stage that is not there": (changed("trainer.position.stage", 7), "is no checkpoint of this run"),
    "a stage that is no number": (changed("trainer.position.stage", [1]), "is no checkpoint of this run"),
    "losses that are words": (changed("trainer.position.losses", ["a"]), "is no checkpoint of this run"),
    "moments of another shape": (
        changed("trainer.stage.optimizer.state", {0: {"momentum_buffer": torch.zeros(7)}}),
        "of a parameter of shape .* has another one",
    ),
    "best weights of another network": (
        changed("trainer.stage.best.weights", {"w": torch.zeros(1)}),
        "the stage's best weights are those of another network",
    ),
    "no report": (changed("report", None), "its report is one that is no JSON object"),
    "a report without a score": (changed("report", {"epoch": 4}), "its report is one without"),
    "the report of another epoch": (changed("report.epoch", 3), "its report is one of epoch 3"),
    "a very deep list": (lambda state, path: deep_list(path), "is damaged or no checkpoint: .*recursion"),
}


@pytest.mark.parametrize(("make", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_checkpoint_is_refused_with_a_message_and_the_one_before_used(
    recipe_of, folder, make, message, caplog
):
    recipe = recipe_of(keep_last=9)
    with closing(TrainingRun(recipe, folder)) as run:
        for _ in range(4):
            next(run)
    path = CheckpointFolder(folder.checkpoints).named("4")
    state = load_checkpoint(path)
    make(state, path)
    with caplog.at_level(logging.WARNING):
        again = TrainingRun(recipe, folder)
    assert len(again.reports) == 3
    (said,) = [record.getMessage() for record in caplog.records if "using the one before it" in record.getMessage()]
    assert said.startswith(str(path))
    assert "\n" not in said
    assert re.search(message, said), said
    assert not (path.parent / "trace").exists()
    assert next(again).epoch == 4, "it trains, from what the good one holds"


# --- copies elsewhere -----------------------------------------------------------------------------------------------


def content(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


def test_a_copy_in_the_place_of_a_lost_run_goes_on_like_it(recipe_of, folder, tmp_path):
    recipe = recipe_of(backup=str(tmp_path / "far"))
    with closing(TrainingRun(recipe, folder)) as run:
        for _ in range(4):
            next(run)
    copy = tmp_path / "far" / folder.root.name
    assert content(copy) == content(folder.root)
    again = TrainingRun(recipe, TrialLayout(copy))
    assert [report.epoch for report in again] == [5, 6]
    again.close()


def test_trials_are_copied_below_their_search(tmp_path):
    assert TrialLayout(tmp_path / "digits" / "trials" / "0007").place == Path("digits/trials/0007")
    assert TrialLayout(tmp_path / "small-1").place == Path("small-1")


def test_a_run_is_copied_to_an_object_store(recipe_of, folder):
    recipe = recipe_of(backup="memory://bucket/backups")
    with closing(TrainingRun(recipe, folder)) as run:
        list(run)
    system = fsspec.filesystem("memory")
    root = f"/bucket/backups/{folder.root.name}/"
    assert {path.removeprefix(root): system.cat_file(path) for path in system.find(root)} == content(folder.root)


def test_a_backup_that_fails_is_warned_of_and_made_up_for(recipe_of, folder, tmp_path, caplog):
    (tmp_path / "far").write_text("a file is in the way")
    recipe = recipe_of(backup=str(tmp_path / "far"))
    with closing(TrainingRun(recipe, folder)) as run:
        for _ in range(3):
            next(run)
        run._checkpoints._backup._last.result()
        assert "the backup failed" in caplog.text
        (tmp_path / "far").unlink()
        list(run)
    assert content(tmp_path / "far" / folder.root.name) == content(folder.root)


def test_the_copy_of_another_run_is_not_written_over(recipe_of, folder, tmp_path):
    list(TrainingRun(recipe_of(), folder))
    back_up(folder, str(tmp_path / "far"))
    there = content(tmp_path / "far")
    folder.recipe.write_text("another")
    with pytest.raises(BackupError, match="is the copy of a run of another recipe"):
        back_up(folder, str(tmp_path / "far"))
    assert content(tmp_path / "far") == there


def test_a_copy_that_breaks_off_leaves_no_half_file(recipe_of, folder, tmp_path, monkeypatch):
    list(TrainingRun(recipe_of(), folder))
    monkeypatch.setattr(local.LocalFileSystem, "mv", _no_space)
    with pytest.raises(BackupError, match="the backup failed: no space left"):
        back_up(folder, str(tmp_path / "far"))
    assert content(tmp_path / "far") == {}
