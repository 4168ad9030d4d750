"""W&B as an optional logger, with the real library in its offline mode."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from search.config.search_config import SearchSettings
from search.config.yaml_source import InputError
from search.progress.wandb_run import WandbRun, check_wandb, run_id
from tests.support.project import PROJECT
from tests.support.recipes import FEW, RECIPE, TINY_NETWORK
from tests.support.wandb_files import offline_runs
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunLayout, TrialLayout

HEAD = {"name": "head", "unfreeze_from": "head", "epochs": 3, "head_lr": 0.05}


@pytest.fixture
def offline(monkeypatch):
    """W&B in its offline mode, set up anew."""
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "tiny_network.py").write_text(TINY_NETWORK)
    tiny = {"model": {"backbone": "tiny_network:tiny"}, "train": RECIPE["train"] | {"stages": [HEAD]}}
    return {"data": RECIPE["data"] | FEW} | tiny


def curve(run, name):
    return {point["_step"]: point[name] for point in run.curves}


@pytest.mark.slow
def test_a_run_is_logged_and_a_resumed_one_has_the_same_identifier_and_all_epochs(thaw_here, tmp_path, recipe, offline):
    (tmp_path / "photos.yaml").write_text(yaml.safe_dump(recipe))
    done = thaw_here("train", "photos.yaml", "--wandb", "lab/pets", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = next((tmp_path / "runs").iterdir())
    again = ["--resume", folder.name, "--checkpoint", "2", "--wandb", "lab/pets"]
    assert thaw_here("train", "photos.yaml", *again, folder=tmp_path).returncode == 0
    first, second = offline_runs(folder)
    reports = read_epochs(TrialLayout(folder).epochs)
    for found in (first, second):
        assert (found.run.entity, found.run.project, found.run.display_name) == ("lab", "pets", folder.name)
        assert curve(found, "loss/train") == {report["epoch"]: report["train_loss"] for report in reports}
        assert found.summary["score"] == reports[-1]["best_score"]
        assert found.config["train"]["batch_size"] == RECIPE["train"]["batch_size"]
        assert found.exit_code == 0
    assert first.run.run_id == second.run.run_id


@pytest.mark.slow
def test_each_trial_of_a_search_is_a_run_in_its_group(thaw_here, tmp_path, recipe, offline):
    searched = {"train.stages[*].head_lr": {"log": [0.01, 0.1]}}
    settings = {"trials": 2, "wandb": "pets", "resources": {"cpus": 1}}
    (tmp_path / "photos.yaml").write_text(yaml.safe_dump({**recipe, "space": searched, "search": settings}))
    done = thaw_here("search", "photos.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    layout = RunLayout(tmp_path / "runs" / "photos")
    found = {run.config["trial"]: run for run in offline_runs(layout.root)}
    assert sorted(found) == [0, 1]
    for number, run in found.items():
        record = json.loads(layout.trial(number).trial.read_text())
        reports = read_epochs(layout.trial(number).epochs)
        assert (run.run.project, run.run.run_group, run.run.display_name) == (
            "pets",
            "photos",
            f"photos trial {number}",
        )
        assert run.config["searched"] == record["params"]
        assert run.config["train"]["stages"][0]["head_lr"] == record["params"]["train.stages[*].head_lr"]
        assert curve(run, "loss/validation") == {report["epoch"]: report["val_loss"] for report in reports}
        assert run.summary["score"] == reports[-1]["best_score"]
        assert run.exit_code == 0


@pytest.mark.slow
def test_an_error_of_wandb_is_a_warning(tmp_path, offline, capsys):
    run = WandbRun("not: a project", tmp_path, identifier=run_id("a"), name="a", group=None, config={})
    run.epoch({"epoch": 1})
    run.finish(well=True)
    assert run.failed
    err = capsys.readouterr().err
    assert err.startswith("warning: W&B: ")
    assert err.count("training continues without it") == 1


@pytest.mark.slow
def test_without_an_api_key_nothing_starts(tmp_path, recipe):
    (tmp_path / "photos.yaml").write_text(yaml.safe_dump(recipe))
    own = {"HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")} | own
    code = "import sys; sys.argv = ['thaw', 'train', 'photos.yaml', '--wandb', 'pets']; from search.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "error: --wandb pets: there is no API key for" in done.stderr
    assert "WANDB_MODE=offline" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install 'thaw-search\[wandb\]'"):
        check_wandb("search.wandb")


@pytest.mark.parametrize("project", ["a b", "a/b/c", "", "a:b", "/a"])
def test_a_projects_name_is_checked(project):
    with pytest.raises(ValueError, match="write PROJECT or ENTITY/PROJECT"):
        SearchSettings(wandb=project)
