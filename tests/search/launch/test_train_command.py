"""`thaw train`, in this process: a line an epoch, runs that go on, exported configs that come out the same."""

import copy
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import yaml

from search.cli import main
from search.config.yaml_source import InputError
from search.launch.train_one import best_line, compared_with, epoch_line, fingerprint_warning, new_folder, run_to_resume
from tests.support.recipes import FEW, RECIPE
from trainables.core.vocabulary import Flag, TrialStatus
from trainables.data.dataset import Dataset
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.epoch_report import EpochReport, read_epochs
from trainables.run_folder.layout import RunLayout, TrialLayout
from trainables.run_folder.trial_record import TrialRecord
from trainables.trial.training_run import TrainingRun


@pytest.fixture
def small():
    """Two epochs in two stages: half a second."""
    data = copy.deepcopy(RECIPE)
    data["data"] |= FEW
    for stage in data["train"]["stages"]:
        stage["epochs"] = 1
        stage.pop("backbone_warmup_epochs", None)
    return data


@pytest.fixture
def thaw(tmp_path, monkeypatch, capsys):
    """`thaw(*words)`: lines of output of a command that goes well, in tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")  # nothing is wrapped for it

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["thaw", *words])
        with pytest.raises(SystemExit, match=f"^{code}$"):
            main()
        out, err = capsys.readouterr()
        return (out if code == 0 else err).splitlines()

    return run


@pytest.fixture
def recipe_file(tmp_path, small):
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(small))
    return file.name


def runs_in(tmp_path):
    return sorted((tmp_path / "runs").glob("*"))


# --- whole commands -------------------------------------------------------------------------------------------------


def test_a_run_is_a_line_an_epoch_and_what_came_of_it(thaw, recipe_file, tmp_path, monkeypatch):
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))  # features that another test has kept would be used
    lines = thaw("train", recipe_file)
    (folder,) = runs_in(tmp_path)
    assert re.fullmatch(r"small-\d{8}-\d{6}", folder.name)
    number = r"\d+\.\d{4}"
    score = rf"balanced_accuracy {number} \(best {number} in epoch \d\)"
    expected = [
        r"46 training images of 10 classes \(12 … 1 each\), 39 to validate, 32 px",
        r"stage head: frozen blocks run in each epoch: they would cost more than they save",
        rf"epoch 1/2  head \(from head\)  train {number}  val {number}  {score}  \d+\.\d s",
        rf"epoch 2/2  top \(from features\.7\)  train {number}  val {number}  {score}  \d+\.\d s  \[head frozen\]",
        "",
        rf"Run:   runs/{folder.name}",
        rf"Best balanced_accuracy: {number} in epoch \d",
    ]
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    assert [report["epoch"] for report in read_epochs(TrialLayout(folder).epochs)] == [1, 2]
    assert list(folder.glob("events.out.tfevents*"))


def test_the_newest_run_of_the_same_recipe_goes_on_unless_a_new_one_is_asked_for(thaw, recipe_file, tmp_path):
    thaw("train", recipe_file)
    again = thaw("train", recipe_file)
    (first,) = runs_in(tmp_path)
    assert again[1] == f"runs/{first.name}: 2 epochs were trained before"
    assert not any(line.startswith("epoch") for line in again)
    thaw("train", recipe_file, "--new")
    newest = runs_in(tmp_path)[-1]
    assert len(runs_in(tmp_path)) == 2
    assert f"Run:   runs/{newest.name}" in thaw("train", recipe_file)
    assert f"Run:   runs/{first.name}" in thaw("train", recipe_file, "--resume", first.name)
    changed = thaw("train", recipe_file, "train.seed=1")
    assert any(line.startswith("epoch 1/2") for line in changed)
    assert len(runs_in(tmp_path)) == 3
    (message,) = thaw("train", recipe_file, "train.seed=2", "--resume", first.name, code=2)
    assert message == f"error: runs/{first.name} has another recipe than 'small' has now; --new starts a new run"


def test_a_run_that_was_cut_off_goes_on_where_it_was(thaw, recipe_file, tmp_path, small):
    folder = TrialLayout(tmp_path / "runs" / "small-20250101-000000")
    run = TrainingRun(parse_recipe(small), folder)
    next(run)
    lines = thaw("train", recipe_file)
    assert lines[1] == "runs/small-20250101-000000: 1 epochs were trained before"
    assert [line.split("  ")[0] for line in lines if line.startswith("epoch")] == ["epoch 2/2"]


def test_an_exported_config_comes_out_the_same_to_the_last_bit(thaw, tmp_path, small):
    layout = RunLayout(tmp_path / "runs" / "earlier")
    reports = list(TrainingRun(parse_recipe(small), layout.trial(0)))
    TrialRecord(number=0, params={}, status=TrialStatus.FINISHED, started="2025-01-01T00:00:00+00:00").write(
        layout.trial(0)
    )
    layout.config.write_text(yaml.safe_dump({**small, "space": "ema", "search": {}}))
    assert thaw("export", "earlier") == ["runs/earlier/best.yaml"]
    lines = thaw("train", "runs/earlier/best.yaml")
    assert lines[-1] == f"best score {reports[-1].best_score:.6f}: the same as trial 0 of earlier, to the last bit"
    assert not any("warning" in line for line in lines)
    assert len(list((tmp_path / "runs").glob("best-*"))) == 1
    lines = thaw("train", "runs/earlier/best.yaml", "data.seed=1", "train.seed=5")
    assert lines[-1].endswith(f"; trial 0 of earlier had {reports[-1].best_score}")


def test_other_data_than_the_exported_trials_is_warned_of(thaw, tmp_path, small):
    provenance = {"search": "s", "trial": 1, "score": 0.5, "environment": {"data_fingerprint": "abc" * 10}}
    (tmp_path / "best.yaml").write_text(yaml.safe_dump({**small, "provenance": provenance}))
    lines = thaw("train", "best.yaml")
    assert re.fullmatch(
        r"warning: the data differs from that of the exported trial \(\w{12}, not abcabcabcabc\)", lines[1]
    )
    assert re.fullmatch(r"best score 0\.\d+; trial 1 of s had 0\.5", lines[-1])


# --- choosing a folder ----------------------------------------------------------------------------------------------


@pytest.fixture
def had(tmp_path, make_recipe):
    """`had(name, **train)`: a run that is there already."""

    def make(name, **train):
        folder = TrialLayout(tmp_path / name)
        folder.root.mkdir()
        folder.recipe.write_text(yaml.safe_dump(make_recipe(**train).model_dump(mode="json")))
        return folder.root

    return make


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        pytest.param([("a-20250101-000000", 0)], "a-20250101-000000", id="the only one"),
        pytest.param([("a-20250101-000000", 0), ("a-20250102-000000", 0)], "a-20250102-000000", id="the newest"),
        pytest.param([("a-20250101-000000", 0), ("a-20250102-000000", 1)], "a-20250101-000000", id="the newest alike"),
        pytest.param([("a-20250101-000000", 1)], None, id="none alike"),
        pytest.param([("b-20250101-000000", 0), ("a-b-20250101-000000", 0), ("a", 0)], None, id="other names"),
        pytest.param([], None, id="none at all"),
    ],
)
def test_the_newest_run_of_this_name_and_recipe_is_chosen(tmp_path, make_recipe, had, there, chosen):
    for name, seed in there:
        had(name, seed=seed)
    folder = run_to_resume(make_recipe(seed=0), tmp_path, "a", new=False, resume=None)
    assert (folder and folder.root) == (chosen and tmp_path / chosen)


def test_a_damaged_recipe_is_passed_over(tmp_path, make_recipe, had):
    (had("a-20250101-000000") / "recipe.yaml").write_text("train: [")
    (had("a-20250101-000001") / "recipe.yaml").write_text("- 1")
    assert run_to_resume(make_recipe(), tmp_path, "a", new=False, resume=None) is None


def test_runs_started_at_once_have_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        names = list(pool.map(lambda _: new_folder(tmp_path / "runs", "a").root.name, range(64)))
    assert len(set(names)) == 64
    assert all(re.fullmatch(r"a-\d{8}-\d{6}(-\d+)?", name) for name in names)


def test_a_name_is_no_pattern(tmp_path, make_recipe, had):
    had("ab-20250101-000000")
    assert run_to_resume(make_recipe(), tmp_path, "a[bc]", new=False, resume=None) is None


def test_a_run_to_resume_must_be_there(tmp_path, make_recipe, had):
    had("a-20250101-000000")
    with pytest.raises(InputError, match=r"nothing is not a training run; runs of 'a': a-20250101-000000$"):
        run_to_resume(make_recipe(), tmp_path, "a", new=False, resume="nothing")
    with pytest.raises(InputError, match=r"is not a training run; runs of 'b': none$"):
        run_to_resume(make_recipe(), tmp_path, "b", new=False, resume="nothing")


# --- lines ----------------------------------------------------------------------------------------------------------

REPORT = EpochReport(
    epoch=7,
    stage="top",
    stage_index=1,
    epoch_in_stage=3,
    open_from="features.7",
    head_lr=0.1,
    backbone_lr=0.01,
    head_frozen=False,
    reweighted=False,
    train_loss=0.31211,
    metrics={"val_loss": 0.41021},
    per_class={},
    confusion=[],
    flags=(),
    score=0.81234,
    best_score=0.83014,
    best_epoch=5,
    best_corrected=0.8,
    drw_pending=False,
    compute=1_000_000,
    compute_share=0.5,
    train_s=1.0,
    cache_s=0.0,
    uncached=None,
    val_s=0.3,
    images_per_s=100.0,
    time="",
    stage_over=False,
    finished=False,
)
LINE = (
    "epoch  7/12  top (from features.7)  train 0.3121  val 0.4102"
    "  balanced_accuracy 0.8123 (best 0.8301 in epoch 5)  1.3 s"
)


@pytest.mark.parametrize(
    ("changes", "notes"),
    [
        ({}, ""),
        ({"head_frozen": True}, "  [head frozen]"),
        ({"head_frozen": True, "reweighted": True}, "  [head frozen, re-weighted]"),
        ({"reweighted": True, "flags": (Flag.COLLAPSE,)}, "  [re-weighted, COLLAPSE]"),
        ({"flags": (Flag.SPIKE, Flag.DRW_DROP)}, "  [SPIKE, DRW_DROP]"),
        ({"flags": (Flag.NAN, Flag.GAP), "stopped_for": Flag.NAN}, "  [NAN, GAP, stopped for nan]"),
    ],
)
def test_an_epoch_is_a_line(make_recipe, changes, notes):
    recipe = make_recipe(stages=[{"name": "top", "unfreeze_from": "last:2", "epochs": 12}])
    assert epoch_line(replace(REPORT, **changes), recipe) == LINE + notes


@pytest.mark.parametrize(
    ("score", "got", "text"),
    [
        (0.75, 0.75, "best score 0.750000: the same as trial 3 of digits, to the last bit"),
        (0.75, np.nextafter(0.75, 1), "best score 0.7500000000000001; trial 3 of digits had 0.75"),
        (0.75, 0.5, "best score 0.5; trial 3 of digits had 0.75"),
        (None, 0.5, "best score 0.5; trial 3 of digits had None"),
        (0.75, None, "best score None; trial 3 of digits had 0.75"),
    ],
)
def test_an_exported_config_is_compared_with_its_trial(score, got, text):
    assert compared_with({"search": "digits", "trial": 3, "score": score}, {"best_score": got}) == text


def test_a_run_without_a_score_says_so(make_recipe):
    assert best_line({"best_score": None, "best_epoch": 0}, make_recipe()) == (
        "No epoch had a balanced_accuracy: training diverged"
    )


@pytest.mark.parametrize(
    ("environment", "warned"),
    [({"data_fingerprint": "f" * 64}, False), ({"data_fingerprint": "0" * 64}, True), ({}, False), (None, False)],
)
def test_other_data_is_noticed(environment, warned):
    nothing = np.zeros(0, dtype=np.int64)
    dataset = Dataset(nothing, nothing, ("a", "b"), nothing, nothing, "f" * 64)
    provenance = {} if environment is None else {"environment": environment}
    assert (fingerprint_warning(provenance, dataset) is not None) == warned
