"""Files that `thaw train` leaves about the best epoch: they are of the weights and numbers of its report."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from search.launch.train_one import train
from search.progress.progress_bar import changing_bar
from search.progress.terminal import Console
from tests.support.small_runs import small_recipe, stage
from trainables.data.dataset import open_dataset
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import TrialLayout
from trainables.tasks.metrics import evaluate
from trainables.trial.training_run import TrainingRun
from trainables.trial.validation_files import best_predictions

NAMES = ["val_metrics.json", "val_predictions.parquet", "history.png", "confusion.png"]
WILD = {"head_lr": 50.0, "backbone_lr": 1.0, "head_frozen_epochs": 0, "backbone_warmup_epochs": 0}
STAGES = [stage("head", "head", 2), stage("wild", "last:1", 1, **WILD)]
"""The best epoch is one of the first stage."""


def quiet():
    return Console(file=io.StringIO(), width=200)


def trained(folder, recipe):
    """Trains a run as `thaw train` does; returns its layout, data and reports."""
    layout, data = TrialLayout(folder), open_dataset(recipe.data)
    train(recipe, layout, data, quiet())
    return layout, data, read_epochs(layout.epochs)


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"ema": {"decay": 0.5}}, marks=pytest.mark.slow)], ids=["plain", "averaged weights"]
)
def test_the_files_are_of_the_best_epoch(tmp_path, options):
    layout, data, reports = trained(tmp_path, small_recipe(stages=STAGES, **options))
    best = reports[reports[-1]["best_epoch"] - 1]
    assert best["epoch"] == 2, "the last epoch's weights would do"
    written = json.loads(layout.val_metrics.read_text())
    assert written["epoch"], written["score"] == (best["epoch"], best["score"])
    assert written["metrics"].items() <= best.items()
    assert {"kappa", "auc", "val_loss", "classes_predicted"} <= written["metrics"].keys()
    assert (written["confusion"], written["classes"]) == (best["confusion"], list(data.classes))
    assert [of["recall"] for of in written["per_class"].values()] == best["per_class"]["recall"]

    table = pd.read_parquet(layout.val_predictions)
    probabilities = table[[f"p_{name}" for name in data.classes]].to_numpy()
    labels = np.array([data.classes.index(label) for label in table["label"]])
    assert labels.tolist() == data.labels[data.validation].tolist()
    assert {**evaluate(probabilities, labels).metrics}.items() <= {**best, **corrected(best)}.items()
    assert -np.log(probabilities[np.arange(len(labels)), labels]).mean() == pytest.approx(best["val_loss"], rel=1e-12)
    assert table["prediction"].tolist() == [data.classes[i] for i in probabilities.argmax(axis=1)]
    assert table["confidence"].tolist() == probabilities.max(axis=1).tolist()
    assert table["image"].tolist() == [data.details.names[i] for i in data.validation]
    assert "group" not in table
    for picture in (layout.history_plot, layout.confusion_plot):
        assert min(Image.open(picture).size) > 300


def corrected(report):
    """Metrics without correction: the evaluation above knows no learned class shares."""
    return {"corrected_balanced_accuracy": report["balanced_accuracy"], "corrected_macro_f1": report["macro_f1"]}


class Interrupting(Console):
    """A terminal in which Ctrl+C is pressed when the line of the second epoch appears."""

    def out(self, *objects, **options):
        super().out(*objects, **options)
        if "epoch 2/" in str(objects[0]):
            raise KeyboardInterrupt


def test_a_stopped_run_has_them_too_and_a_resumed_one_new_ones(tmp_path):
    recipe = small_recipe(stages=[stage("head", "head", 3)])
    layout, data = TrialLayout(tmp_path), open_dataset(recipe.data)
    console = Interrupting(file=io.StringIO(), width=200)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, layout, data, console)
    assert "stopped; writing the predictions of the best epoch" in console.file.getvalue()
    assert all((tmp_path / name).exists() for name in NAMES)
    assert json.loads(layout.val_metrics.read_text())["epoch"] == 2
    train(recipe, layout, data, quiet())
    assert json.loads(layout.val_metrics.read_text())["epoch"] == 3
    written = {name: (tmp_path / name).stat().st_mtime_ns for name in NAMES}
    train(recipe, layout, data, quiet())
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in NAMES} == written, "nothing has changed"
    again = best_predictions(recipe, layout, data, epoch=3)
    table = pd.read_parquet(layout.val_predictions)
    assert table["p_3"].tolist() == again.columns()["p_3"].tolist(), "a new trainer predicts the same"


@pytest.mark.slow
def test_a_run_that_diverged_has_its_history_only(tmp_path):
    layout, _, reports = trained(
        tmp_path, small_recipe(stages=[stage("head", "head", 1, head_lr=1e38)], metric="val_loss")
    )
    assert reports[-1]["best_score"] is None
    assert [name for name in NAMES if (tmp_path / name).exists()] == ["history.png"]
    assert layout.history_plot.exists()


@pytest.mark.slow
def test_numbers_and_groups_of_a_regression(tmp_path):
    for i in range(24):
        Image.fromarray(np.full((32, 32), 10 * i, np.uint8)).save(tmp_path / f"{i}.png")
    rows = "".join(f"{i}.png,{i / 4},patient {i // 2}\n" for i in range(24))
    (tmp_path / "table.csv").write_text("file,age,patient\n" + rows)
    data = {"source": "table", "path": str(tmp_path / "table.csv"), "task": "regression", "image_size": 32}
    data |= {"columns": {"path": "file", "label": "age", "group": "patient"}, "validation": 0.25}
    train_ = {"stages": [stage("head", "head", 2)], "batch_size": 16, "metric": "mae"}
    recipe = parse_recipe({"data": data, "model": {"backbone": "efficientnet_lite0"}, "train": train_})
    layout, dataset, reports = trained(tmp_path / "run", recipe)
    table = pd.read_parquet(layout.val_predictions)
    assert list(table.columns) == ["image", "group", "label", "prediction"]
    assert table["label"].tolist() == dataset.targets[dataset.validation].tolist()
    assert sorted(table.groupby("group").size()) == [2] * (len(table) // 2)
    best = reports[reports[-1]["best_epoch"] - 1]
    assert (table["label"] - table["prediction"]).abs().mean() == pytest.approx(best["mae"], rel=1e-12)
    written = json.loads(layout.val_metrics.read_text())
    assert (written["metrics"]["mae"], "confusion" in written) == (best["mae"], False)
    assert not layout.confusion_plot.exists()


def test_a_terminal_shows_a_bar_within_an_epoch():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with changing_bar(console) as show:
        for epoch in (1, 2):
            for done in range(4):
                show(f"epoch {epoch}/2", done, 3)
    shown = console.file.getvalue()
    assert "epoch 1/2" in shown
    assert "epoch 2/2" in shown
    assert "3/3" in shown
    silent = Console(file=io.StringIO(), width=100)
    with changing_bar(silent) as show:
        show("epoch 1/2", 1, 3)
    assert silent.file.getvalue() == ""


def test_the_steps_of_an_epoch_are_counted(tmp_path):
    seen = []
    recipe = small_recipe(stages=[stage("head", "head", 2)], accumulate=2)
    run = TrainingRun(recipe, TrialLayout(tmp_path), show_steps=lambda *step: seen.append(step))
    list(run)
    assert seen == [(epoch, done, 2) for epoch in (1, 2) for done in range(3)]
    assert run.trainer.steps == 4
