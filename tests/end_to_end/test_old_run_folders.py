"""Run folders of earlier versions, as they lie in `tests/run_folders`: opened, tabulated, reported on, exported and resumed."""

import json
import shutil
from pathlib import Path

import pytest

from results_analysis import export_trial, load, write_report
from results_analysis.runs.run import read_yaml
from search.run_folder.status_file import read_status
from tests.support.searches import study_of, thaw
from trainables.checkpoints.checkpoint_file import CheckpointError, load_checkpoint, write_state
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.run_folder.checkpoint_registry import read_registry
from trainables.run_folder.epoch_report import FIELDS, read_epochs
from trainables.run_folder.layout import SCHEMA_VERSION, RunFileError, RunLayout
from trainables.run_folder.trial_record import read_record

OLD = sorted((Path(__file__).parents[1] / "run_folders").iterdir())


@pytest.fixture(params=OLD, ids=lambda folder: folder.name)
def layout(request, tmp_path):
    """A copy of a search of four trials: two finished, one was pruned, one had done 3 of its 6 epochs when it was stopped."""
    shutil.copytree(request.param, tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "small", tmp_path / "runs" / "small")
    return RunLayout(tmp_path / "runs" / "small")


def test_it_is_opened_and_tabulated(layout):
    run = load(layout.root)
    table = run.trials().set_index("trial")
    assert table["status"].to_dict() == {0: "finished", 1: "finished", 2: "pruned", 3: "running"}
    assert table["epochs"].to_dict() == {0: 6, 1: 6, 2: 2, 3: 3}
    assert table["score"].round(4).to_dict() == {0: 0.1667, 1: 0.4333, 2: 0.1667, 3: 0.1667}
    assert table.loc[1, ["best_epoch", "stage", "stage_index", "flags_at_best"]].tolist() == [6, "top", 1, ""]
    assert table.loc[1, ["train_s", "val_s", "compute", "balanced_accuracy"]].notna().all()
    assert table.loc[1, "train.loss.kind"] == "cross_entropy"
    assert len(run.epochs()) == table["epochs"].sum()
    assert len(run.per_class()) == 10 * len(table)


def test_it_is_reported_on(layout):
    page = write_report(load(layout.root), layout.report).read_text()
    assert "trial 1" in page
    assert len(page) > 10_000


def test_its_best_config_is_exported_as_it_was_then(layout):
    exported, then = read_yaml(export_trial(load(layout.root), layout.root / "again.yaml")), read_yaml(layout.best)
    for config in (exported, then):
        del config["provenance"]["exported"], config["provenance"]["thaw"]
    assert exported == then


def test_its_checkpoints_are_registered(layout):
    for folder in layout.all_trials():
        registered = {entry.epoch: entry for entry in read_registry(folder.registry)}
        assert list(registered) == [report["epoch"] for report in read_epochs(folder.epochs)]
        for file in folder.checkpoints.iterdir():
            entry = registered[int(file.name[:4])]
            assert (entry.file, entry.size) == (file.name, file.stat().st_size)


# --- files that lack fields -----------------------------------------------------------------------------------------

NEEDED = {
    "trial.json": {"number", "params", "status", "started"},
    "epochs.jsonl": {name for name, traits in FIELDS.items() if traits.is_needed},
    "checkpoints.jsonl": {"file", "epoch", "step", "stage", "time", "size"},
    "environment.json": set(),
    "status.json": {"attempt", "trials"},
    "spent.json": {"wall_s"},
}
"""What readers rely on; all else may have come later than a file."""


def objects_in(file):
    """A JSON file's object, or those of its lines."""
    text = file.read_text()
    return [json.loads(line) for line in (text.splitlines() if file.suffix == ".jsonl" else [text])]


def without(layout, name, unwanted):
    """Takes fields out of all files of a name."""
    for file in layout.root.rglob(name):
        left = [{key: value for key, value in each.items() if not unwanted(key)} for each in objects_in(file)]
        file.write_text("".join(json.dumps(each) + "\n" for each in left))


def fields_in(name):
    """Of all files of a name."""
    files = [file for folder in OLD for file in folder.rglob(name)]
    return sorted({field for file in files for each in objects_in(file) for field in each})


def assert_readable(layout):
    table = load(layout.root).trials()
    assert table["status"].tolist() == ["finished", "finished", "pruned", "running"]
    assert table["epochs"].tolist() == [6, 6, 2, 3]
    assert table["score"].notna().all()
    assert len(load(layout.root).epochs()) == table["epochs"].sum()
    assert [len(read_registry(folder.registry)) for folder in layout.all_trials()] == table["epochs"].tolist()
    assert read_status(layout).trials == 4


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name, needed in NEEDED.items() for field in fields_in(name) if field not in needed],
)
def test_a_file_that_lacks_a_field_is_readable(layout, name, field):
    without(layout, name, lambda key: key == field)
    assert_readable(layout)


@pytest.mark.parametrize("name", ["trial.json", "epochs.jsonl", "checkpoints.jsonl"])
def test_a_file_that_lacks_what_readers_rely_on_is_refused_by_name(layout, name):
    for field in NEEDED[name]:
        folder = layout.trial(3)
        kept = (folder.root / name).read_bytes()
        without(layout, f"trials/0003/{name}", lambda key, field=field: key == field)
        with pytest.raises(RunFileError, match=rf"{name}.*{field}"):
            read_record(folder), read_epochs(folder.epochs), read_registry(folder.registry)
        (folder.root / name).write_bytes(kept)


@pytest.mark.parametrize("name", ["trial.json", "checkpoint"])
def test_a_file_of_a_newer_version_is_refused(layout, name):
    folder = layout.trial(3)
    if name == "trial.json":
        folder.trial.write_text(json.dumps(json.loads(folder.trial.read_text()) | {"schema": SCHEMA_VERSION + 1}))
        with pytest.raises(RunFileError, match="newer"):
            read_record(folder)
        return
    file = CheckpointFolder(folder.checkpoints).named("newest")
    with file.open("rb+") as stream:
        write_state(stream, load_checkpoint(file) | {"schema": SCHEMA_VERSION + 1})
    with pytest.raises(CheckpointError, match="newer"):
        load_checkpoint(file)


def strip(layout):
    """Leaves nothing that readers do not rely on; also in the reports that checkpoints hold."""
    for name, needed in NEEDED.items():
        without(layout, name, lambda key, needed=needed: key not in needed and key != "summary")
    records = [(folder, json.loads(folder.trial.read_text())) for folder in layout.all_trials()]
    for folder, record in records:
        folder.trial.write_text(json.dumps({key: value for key, value in record.items() if key != "summary"}))
        for path in CheckpointFolder(folder.checkpoints).files.values():
            state = load_checkpoint(path)
            report = {key: value for key, value in state["report"].items() if key in NEEDED["epochs.jsonl"]}
            with path.open("wb") as file:
                write_state(file, state | {"report": report})


def test_a_run_of_which_only_what_readers_rely_on_is_left_is_reported_on(layout):
    strip(layout)
    assert_readable(layout)
    write_report(load(layout.root), layout.report)
    export_trial(load(layout.root))


# --- resuming -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("change", [lambda layout: None, strip], ids=["as it was", "stripped"])
def test_its_unfinished_trial_is_resumed_and_its_model_exported(layout, change):
    change(layout)
    before = {folder.number: folder.epochs.read_bytes() for folder in layout.all_trials()}
    folder = layout.root.parents[1]
    resumed = thaw("resume", "small", "--trust-code", folder=folder)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    after = {trial.number: trial.epochs.read_bytes() for trial in layout.all_trials()}
    assert {number: after[number] for number in (0, 1, 2)} == {number: before[number] for number in (0, 1, 2)}
    done_before, done = (list(map(json.loads, lines[3].splitlines())) for lines in (before, after))
    assert len(done) > len(done_before)
    assert all(was.items() <= now.items() for was, now in zip(done_before, done, strict=False))
    assert read_record(layout.trial(3)).status in {"finished", "pruned"}
    assert [trial.state.name for trial in study_of(layout).trials][:3] == ["COMPLETE", "COMPLETE", "PRUNED"]
    exported = thaw("export", "small", "--trial", "1", "--model", "model", "--trust-code", folder=folder)
    assert exported.returncode == 0, exported.stdout + exported.stderr
    assert json.loads((folder / "model" / "model.json").read_text())["origin"]["trial"] == 1
