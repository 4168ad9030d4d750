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
from search.launch.shown_run import WIDTH, epoch_line
from search.launch.train_one import best_line, compared_with, fingerprint_warning, new_folder, run_to_resume, train
from search.progress.terminal import Console
from tests.support.recipes import FEW, RECIPE
from trainables.core.vocabulary import Flag, TrialStatus
from trainables.data.dataset import Dataset, open_dataset
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
    loss, share = r"loss \d\.\d{4}/\d\.\d{4}", r"-?\d\.\d{3}"
    scores = rf"acc {share}/{share}  bal {share}  kappa {share}  F1 {share}  AUC {share}  best bal \d\.\d{{4}} \(\d\)"
    counts = r"predicted (\d+, ){9}\d+|predicted \d+/10: \d+…\d+"
    expected = [
        r"46 training images of 10 classes \(12 … 1 each\), 39 to validate, 32 px",
        r"stage head \(1 of 2\) trains the head alone: 12,810 parameters, 0\.4 %; BatchNorms: 0 open, 49 frozen",
        r"stage head: frozen blocks run in each epoch: they would cost more than they save",
        rf"epoch 1/2  head 1/1  {loss}  {scores}  ({counts})  \d+\.\d s",
        r"stage head ended after 1 epoch: its one epoch is done",
        r"stage top \(2 of 2\) trains the head and features\.7 … features\.8 \(2 of 9 blocks\): [\d,]+ parameters, "
        r"30\.2 %; BatchNorms: 4 open, 45 frozen",
        rf"epoch 2/2  top 1/1  {loss}  {scores}  ({counts})  \d+\.\d s",
        r" +\[head frozen\]",
        r"stage top ended after 1 epoch: its one epoch is done",
        "",
        rf"Run:   runs/{folder.name}",
        rf"Page:  thaw report {folder.name}",
        r"Best balanced_accuracy: \d\.\d{4} in epoch \d",
    ]
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    assert [report["epoch"] for report in read_epochs(TrialLayout(folder).epochs)] == [1, 2]
    assert list(folder.glob("events.out.tfevents*"))
    log = (folder / "log.txt").read_text().splitlines()
    assert all(logged.endswith(line) for logged, line in zip(log, lines[1:-4], strict=True))


def test_the_newest_run_of_the_same_recipe_goes_on_unless_a_new_one_is_asked_for(thaw, recipe_file, tmp_path):
    thaw("train", recipe_file)
    again = thaw("train", recipe_file)
    (first,) = runs_in(tmp_path)
    assert again[1].startswith(
        f"runs/{first.name}: 2 epochs were trained before, which is all; best balanced_accuracy so far 0."
    )
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
    assert re.fullmatch(
        r"runs/small-20250101-000000: 1 epoch was trained before: resumes in stage top, epoch 1 of 1;"
        r" best balanced_accuracy so far 0\.\d{4}, in epoch 1",
        lines[1],
    )
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


def test_a_run_is_resumed_with_another_policy_of_checkpoints(tmp_path, make_recipe, had):
    had("a-20250101-000000")
    recipe = make_recipe(checkpoints={"keep_last": 7})
    for resume in (None, "a-20250101-000000"):
        assert run_to_resume(recipe, tmp_path, "a", new=False, resume=resume).root.name == "a-20250101-000000"


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
    stage_index=0,
    epoch_in_stage=3,
    open_from="features.7",
    head_lr=0.1,
    backbone_lr=0.01,
    head_frozen=False,
    reweighted=False,
    train_loss=0.31211,
    train_accuracy=0.9121,
    metrics={
        "val_loss": 0.41021,
        "auc": 0.951,
        "kappa": 0.801,
        "balanced_accuracy": 0.81234,
        "accuracy": 0.853,
        "macro_f1": 0.79,
        "classes_predicted": 2.0,
    },
    per_class={"predicted_count": [3, 40]},
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
    "epoch  7/12  top 3/12  loss 0.3121/0.4102  acc 0.912/0.853  bal 0.812  kappa 0.801  F1 0.790  AUC 0.951"
    "  best bal 0.8301 (5)  predicted "
)


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({}, "3, 40  1.3 s"),
        ({"head_frozen": True}, "3, 40  1.3 s\n      [head frozen]"),
        ({"reweighted": True, "flags": (Flag.COLLAPSE,)}, "3, 40  1.3 s\n      [re-weighted, COLLAPSE]"),
        ({"flags": (Flag.NAN, Flag.GAP), "stopped_for": Flag.NAN}, "3, 40  1.3 s\n      [NAN, GAP, stopped for nan]"),
        ({"stage_outlook": "plateau in 1 epoch"}, "3, 40  1.3 s\n      [plateau in 1 epoch]"),
        ({"per_class": {"predicted_count": [3, 40, 0] * 7}}, "14/21: 3…40  1.3 s"),
        ({"per_class": {"predicted_count": [2] * 5}}, "2, 2, 2, 2, 2  1.3 s"),
    ],
)
def test_an_epoch_is_a_line(make_recipe, changes, after):
    recipe = make_recipe(stages=[{"name": "top", "unfreeze_from": "last:2", "epochs": 12}])
    line = epoch_line(replace(REPORT, **changes), recipe)
    assert line == LINE + after
    assert max(map(len, line.splitlines())) <= WIDTH


def test_the_line_of_a_regression_has_its_metrics(make_recipe):
    recipe = make_recipe(stages=[{"name": "top", "unfreeze_from": "last:2", "epochs": 12}], metric="val_loss")
    metrics = {"val_loss": 0.5, "spearman": 0.9, "r2": 0.8, "mae": 1.5, "rmse": 2.0, "prediction_spread": 0.7}
    report = replace(
        REPORT, metrics=metrics, train_accuracy=None, per_class={}, best_score=0.41, best_epoch=6, head_frozen=True
    )
    assert epoch_line(report, recipe) == (
        "epoch  7/12  top 3/12  loss 0.3121/0.5000  spearman 0.900  R² 0.800  MAE 1.500  RMSE 2.000"
        "  best val_loss 0.4100 (6)  spread 0.700  1.3 s  [head frozen]"
    )


def test_a_metric_that_is_the_score_is_in_the_line(make_recipe):
    recipe = make_recipe(stages=[{"name": "top", "unfreeze_from": "last:2", "epochs": 12}], metric="corrected_macro_f1")
    report = replace(REPORT, metrics={**REPORT.metrics, "corrected_macro_f1": 0.7}, best_epoch=0)
    line = epoch_line(report, recipe)
    assert "  corr F1 0.700  no corr F1 so far  " in line


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


def test_a_run_whose_log_cannot_be_written_trains_on(tmp_path, small):
    recipe, folder = parse_recipe(small), new_folder(tmp_path, "small")
    folder.output.symlink_to("/dev/full")
    train(recipe, folder, open_dataset(recipe.data), Console(quiet=True))
    assert len(read_epochs(folder.epochs)) == 2
