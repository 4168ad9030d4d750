"""Run folders of earlier versions, as they lie in `tests/run_folders`: opened, tabulated, reported on, exported and resumed."""

import json
import shutil
from pathlib import Path

import pytest

from results_analysis import export_trial, load, write_report
from results_analysis.runs.run import read_yaml
from tests.support.searches import study_of, thaw
from trainables.run_folder.checkpoint_registry import read_registry
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunLayout
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


@pytest.mark.slow
def test_its_unfinished_trial_is_resumed_and_its_model_exported(layout):
    before = {folder.number: folder.epochs.read_bytes() for folder in layout.all_trials()}
    folder = layout.root.parents[1]
    done = thaw("resume", "small", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    after = {trial.number: trial.epochs.read_bytes() for trial in layout.all_trials()}
    assert {number: after[number] for number in (0, 1, 2)} == {number: before[number] for number in (0, 1, 2)}
    assert after[3].startswith(before[3])
    assert len(after[3]) > len(before[3])
    assert read_record(layout.trial(3)).status in {"finished", "pruned"}
    assert [trial.state.name for trial in study_of(layout).trials][:3] == ["COMPLETE", "COMPLETE", "PRUNED"]
    done = thaw("export", "small", "--trial", "1", "--model", "model", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((folder / "model" / "model.json").read_text())["origin"]["trial"] == 1
