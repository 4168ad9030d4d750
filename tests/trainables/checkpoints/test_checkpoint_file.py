"""Files of checkpoints: small, named by what is in them, and not to be trusted."""

import logging
import re
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
import torch

from tests.support import checkpointed_runs
from tests.support.checkpointed_runs import TWO, WORSE
from trainables.checkpoints import checkpoint_file
from trainables.checkpoints.checkpoint_file import CheckpointError, checksum_of, load_checkpoint, verify
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.run_folder.layout import TrialLayout
from trainables.trial.training_run import TrainingRun

folder, recipe_of = checkpointed_runs.folder, checkpointed_runs.recipe_of  # fixtures


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
    with pytest.raises(CheckpointError, match="is not the file that was registered under its name"):
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
        r"it lacks the data of a tensor of shape \(274877906944,\)",
    ),
    "a sparse tensor": (
        changed("x", torch.sparse_coo_tensor(size=(2**40,), check_invariants=True)),
        "a tensor of shape",
    ),
    "a schema that is no number": (changed("schema", "1"), "is not a checkpoint of a run"),
    "no trainer": (lambda state, path: torch.save({**state, "trainer": None}, path), "is not a checkpoint of this run"),
    "weights of another network": (
        changed("trainer.weights.x", torch.zeros(3)),
        "is not a checkpoint of this run",
    ),
    "a stage that is not there": (changed("trainer.position.stage", 7), "is not a checkpoint of this run"),
    "a stage that is no number": (changed("trainer.position.stage", [1]), "is not a checkpoint of this run"),
    "losses that are words": (changed("trainer.position.losses", ["a"]), "is not a checkpoint of this run"),
    "moments of another shape": (
        changed("trainer.stage.optimizer.state", {0: {"momentum_buffer": torch.zeros(7)}}),
        "does not have the shape of its parameter",
    ),
    "best weights of another network": (
        changed("trainer.stage.best.weights", {"w": torch.zeros(1)}),
        "the stage's best weights belong to another network",
    ),
    "no report": (changed("report", None), "its report is not a JSON object"),
    "a report without a score": (changed("report", {"epoch": 4}), "its report has no"),
    "the report of another epoch": (changed("report.epoch", 3), "its report is of epoch 3"),
    "a very deep list": (lambda state, path: deep_list(path), "is damaged or not a checkpoint: .*recursion"),
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
