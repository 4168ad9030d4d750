"""Regression from the table to the report: what is minimised, what is measured, and a run that goes on where it stopped."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score

from tests.support.scored_digits import regression_recipe, write_scored_digits
from trainables.data.dataset import Dataset, open_dataset
from trainables.recipe.data_settings.target_settings import TargetConfig
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.epoch_report import OF_THE_MACHINE, read_epochs
from trainables.run_folder.layout import RunFileError, TrialLayout
from trainables.tasks.classification import Classification, task_of
from trainables.tasks.regression import Regression
from trainables.training.trainer import Trainer
from trainables.trial.training_run import TrainingRun

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    return write_scored_digits(tmp_path_factory.mktemp("scores"), 240)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_scored_digits(tmp_path_factory.mktemp("small"), 40)


@pytest.fixture(scope="module")
def learned(scores):
    recipe = parse_recipe(regression_recipe(scores))
    trainer = Trainer(recipe, open_dataset(recipe.data))
    return trainer, list(trainer)


# --- a run ----------------------------------------------------------------------------------------------------------


def test_a_run_learns_how_bright_images_are(learned):
    trainer, reports = learned
    assert [report.stage for report in reports] == ["head"] * 4 + ["top"] * 2
    best = max(reports, key=lambda report: report.score)
    assert best.metrics["r2"] > 0.5
    assert best.score == best.metrics["spearman"] > 0.7
    assert best.metrics["val_loss"] < 0.5, "1 is what the mean would come to"
    assert reports[3].train_loss < reports[0].train_loss / 2
    assert not any(report.flags for report in reports)
    assert (reports[-1].best_score, reports[-1].best_epoch) == (best.score, best.epoch)
    assert trainer.model.head.last.out_features == 1


def test_a_report_describes_the_validation_split_in_the_unit_of_the_table(learned):
    trainer, reports = learned
    dataset = trainer.dataset
    with torch.inference_mode():
        outputs = trainer.model.eval()(trainer.feed.images.load(dataset.validation, None)).double().squeeze(1).numpy()
    of_training, targets = dataset.targets[dataset.train], dataset.targets[dataset.validation]
    predictions = of_training.mean() + of_training.std() * outputs
    metrics = reports[-1].metrics
    assert 1000 < predictions.mean() < 2000
    assert metrics["mae"] == pytest.approx(mean_absolute_error(targets, predictions), rel=1e-5)
    assert metrics["r2"] == pytest.approx(r2_score(targets, predictions), rel=1e-4)
    assert metrics["spearman"] == pytest.approx(spearmanr(targets, predictions).statistic, abs=1e-3)
    assert metrics["val_loss"] == pytest.approx((metrics["rmse"] / of_training.std()) ** 2, rel=1e-6)
    assert metrics["prediction_spread"] == pytest.approx(predictions.std() / targets.std(), rel=1e-4)


def test_a_report_has_nothing_to_say_of_classes(learned):
    _, reports = learned
    line = json.loads(reports[0].to_json())
    assert (line["per_class"], line["confusion"]) == ({}, [])
    assert not {"kappa", "auc", "accuracy", "classes_predicted"} & set(line)
    assert {"val_loss", "spearman", "r2", "mae", "rmse", "prediction_spread"} <= set(reports[0].metrics)


@pytest.mark.parametrize(("metric", "best"), [("mae", min), ("rmse", min), ("val_loss", min), ("r2", max)])
def test_the_best_epoch_is_the_one_the_metric_likes_best(small, metric, best):
    recipe = parse_recipe(regression_recipe(small, metric=metric))
    reports = list(Trainer(recipe, open_dataset(recipe.data)))
    values = [report.metrics[metric] for report in reports]
    assert [report.score for report in reports] == values
    assert reports[-1].best_score == best(values)
    assert reports[-1].best_epoch == values.index(best(values)) + 1


EVERYTHING = {
    "ema": {"decay": 0.9},
    "accumulate": 2,
    "clip_norm": 0.5,
    "augment": {"horizontal_flip": 0.5, "crop": {"min_scale": 0.5}},
    "precision": "bf16",
    "stop_on": ["nan", "collapse"],
}


@pytest.mark.parametrize("train", [{}, {"loss": {"kind": "mse"}, **EVERYTHING}], ids=["plain", "everything"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(small, tmp_path, train):
    recipe = parse_recipe(regression_recipe(small, **train))
    for _ in TrainingRun(recipe, whole := TrialLayout(tmp_path / "whole")):
        pass
    for _ in range(6):
        next(TrainingRun(recipe, parts := TrialLayout(tmp_path / "parts")))  # a new one each time, as after a kill
    reports, again = (
        [
            {key: value for key, value in report.items() if key not in OF_THE_MACHINE}
            for report in read_epochs(folder.epochs)
        ]
        for folder in (whole, parts)
    )
    assert len(reports) == 6
    assert reports == again


def test_other_numbers_are_other_data(small, tmp_path):
    recipe = parse_recipe(regression_recipe(small))
    next(TrainingRun(recipe, folder := TrialLayout(tmp_path / "run")))
    table = pd.read_csv(small)
    table["path"] = [str(small.parent / path) for path in table["path"]]
    changed = tmp_path / "scores.csv"
    table.assign(label=table["label"] + 1).to_csv(changed, index=False)
    other = parse_recipe(regression_recipe(changed))
    with pytest.raises(RunFileError, match="made with other data"):
        TrainingRun(other, folder)


def test_what_turns_outputs_into_predictions_stands_beside_the_run(small, tmp_path):
    recipe = parse_recipe(regression_recipe(small))
    run = TrainingRun(recipe, folder := TrialLayout(tmp_path))
    dataset = run.trainer.dataset
    environment = json.loads(folder.environment.read_bytes())
    assert environment["target_mean"] == dataset.targets[dataset.train].mean()
    assert environment["target_std"] == dataset.targets[dataset.train].std()
    assert environment["data_fingerprint"] == dataset.fingerprint
    assert environment["validation_images"] == len(dataset.validation)
    assert "classes" not in environment


def test_a_network_that_cannot_learn_predicts_one_number_and_is_flagged(small):
    data = regression_recipe(small, stop_on=["nan", "collapse"])
    data["model"] = {"backbone": "mobilenet_v3_small", "weights": "none"}
    (head, _) = data["train"]["stages"]
    data["train"]["stages"] = [{**head, "epochs": 6, "head_lr": 1e-9}]
    recipe = parse_recipe(data)
    reports = list(Trainer(recipe, open_dataset(recipe.data)))
    assert [report.flags for report in reports] == [("collapse",)] * 4
    assert reports[-1].stopped_for == "collapse"


# --- the task -------------------------------------------------------------------------------------------------------

TARGETS = np.array([10.0, 20.0, 30.0, 60.0, 1e6, -1e6])
"""The first four train: mean 30, standard deviation 18.7."""


def dataset_of(targets, classes=()):
    images, labels = np.zeros((len(TARGETS), 8, 8, 1), np.uint8), np.array([0, 1] * 3 if classes else [0] * 6)
    return Dataset(images, labels, classes, np.arange(4), np.arange(4, 6), "f" * 64, targets)


def task(**train):
    recipe = parse_recipe(regression_recipe("scores.csv", **train))
    return task_of(recipe, dataset_of(TARGETS), device=CPU)


def test_the_recipe_chooses_the_task(make_recipe):
    regression = task()
    assert isinstance(regression, Regression)
    assert (regression.outputs, regression.balanced, regression.cosine_scale) == (1, False, None)
    classification = task_of(make_recipe(), dataset_of(None, ("a", "b")), device=CPU)
    assert isinstance(classification, Classification)
    assert (classification.outputs, dict(classification.constants)) == (2, {})


def test_targets_are_standardised_by_the_training_images_alone():
    assert task().constants == {"target_mean": 30.0, "target_std": pytest.approx(math.sqrt(350))}


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({"kind": "mse"}, lambda errors: (errors**2).mean()),
        ({"kind": "huber"}, lambda errors: F.huber_loss(errors, torch.zeros_like(errors))),
        ({"kind": "huber", "delta": 0.3}, lambda errors: F.huber_loss(errors, torch.zeros_like(errors), delta=0.3)),
        ({"kind": "huber", "delta": 1e6}, lambda errors: (errors**2).mean() / 2),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_is_of_standardised_targets_in_float32(loss, expected, dtype):
    outputs = torch.tensor([[0.0], [0.5], [-2.0]], dtype=dtype, requires_grad=True)
    targets = torch.tensor([10.0, 30.0, 60.0], dtype=torch.float64)
    got = task(loss=loss).loss(outputs, targets, reweighted=False)
    standardised = ((targets - 30) / math.sqrt(350)).float()
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(expected(outputs.detach().float().squeeze(1) - standardised).item(), rel=1e-6)
    got.backward()
    assert outputs.grad.isfinite().all()


def test_an_outlier_pulls_no_harder_than_delta():
    outputs = torch.zeros(2, 1, requires_grad=True)
    task(loss={"kind": "huber", "delta": 0.5}).loss(
        outputs, torch.tensor([1e6, 1e9]).double(), reweighted=False
    ).backward()
    assert outputs.grad.flatten().tolist() == [-0.25, -0.25]


@pytest.mark.parametrize("loss", [{"kind": "mse"}, {"kind": "huber", "delta": 0.1}])
def test_the_validation_loss_is_the_same_whatever_the_training_loss(loss):
    targets = torch.tensor([30.0, 30.0 + math.sqrt(350), 30.0], dtype=torch.float64)
    val_loss, evaluation = task(loss=loss).validate(torch.tensor([[0.0], [3.0], [1.0]]), targets, reweighted=False)
    assert val_loss == pytest.approx(5 / 3)
    assert evaluation.metrics["mae"] == pytest.approx(math.sqrt(350))


def test_the_mean_of_the_training_targets_has_a_validation_loss_of_one_where_validation_is_like_training():
    targets = torch.from_numpy(TARGETS[:4])
    val_loss, evaluation = task().validate(torch.zeros(4, 1), targets, reweighted=False)
    assert val_loss == pytest.approx(1.0)
    assert evaluation.metrics["r2"] == pytest.approx(0.0)


def test_diverged_outputs_are_no_numbers():
    val_loss, evaluation = task().validate(
        torch.tensor([[math.inf], [1.0]]), torch.tensor([1.0, 2.0]).double(), reweighted=False
    )
    assert val_loss == math.inf
    assert all(math.isnan(value) for value in evaluation.metrics.values())


# --- other scales ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", ["log", "rank_normal"])
def test_metrics_are_in_the_tables_unit_whatever_the_scale(transform):
    targets = np.array([1.0, 10.0, 100.0, 1000.0, 20.0, 50.0])
    recipe = parse_recipe(regression_recipe("scores.csv"))
    recipe = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"target": TargetConfig(transform=transform)})}
    )
    regression = task_of(recipe, dataset_of(targets), device=CPU)
    truth = torch.from_numpy(targets)
    outputs = regression.scale.outputs(truth)[:, None]
    loss, found = regression.validate(outputs, truth, reweighted=False)
    assert loss == 0
    assert found.metrics["mae"] == pytest.approx(0, abs=1e-6)
    loss, found = regression.validate(outputs * 0, truth, reweighted=False)
    middle = regression.scale.targets(torch.zeros(1, dtype=torch.float64)).item()
    assert middle == pytest.approx(31.6, rel=0.01) if transform == "log" else 10 < middle < 100
    assert found.metrics["mae"] == pytest.approx(np.abs(targets - middle).mean())
    assert loss == pytest.approx((outputs**2).mean().item())
