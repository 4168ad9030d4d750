"""What every declared metric must do. A new entry in `METRICS` is tested here without a word in this file."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from results_analysis.plots.style import axis_title, words
from trainables.core.vocabulary import METRICS, Metric, Of, Task, metrics_of
from trainables.recipe.recipe import parse_recipe
from trainables.tasks.metrics import evaluate, measured
from trainables.tasks.regression_metrics import evaluate_numbers

CLASSES = 4
LABELS = np.repeat(np.arange(CLASSES), (40, 20, 10, 5))
NUMBERS = np.linspace(-3.0, 40.0, 60)
PRIOR = np.bincount(LABELS) / len(LABELS)

each_metric = pytest.mark.parametrize("metric", Metric)


def values_at(noise, task):
    """Every metric of a task for predictions that are perfect but for some noise."""
    random = np.random.default_rng(0)
    if task == "regression":
        predicted = NUMBERS + noise * 10 * random.standard_normal(len(NUMBERS))
        values = evaluate_numbers(predicted, NUMBERS).metrics
        return {**values, "val_loss": float(np.square(predicted - NUMBERS).mean() / NUMBERS.var())}
    logits = 8.0 * np.eye(CLASSES)[LABELS] + noise * 8 * random.standard_normal((len(LABELS), CLASSES))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    values = evaluate(probabilities, LABELS, learned_prior=PRIOR).metrics
    return {**values, "val_loss": float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(LABELS)))}


def test_every_metric_is_declared():
    assert list(METRICS) == list(Metric)
    assert {spec.of for spec in METRICS.values()} == {*get_args(Of)}


@each_metric
def test_all_but_the_loss_name_a_function(metric):
    assert (METRICS[metric].function is None) == (METRICS[metric].of == "val_loss")


@pytest.mark.parametrize("task", get_args(Task))
def test_an_evaluation_holds_every_metric_of_its_task_in_their_order(task):
    beside = {"classes_predicted", "prediction_spread", "val_loss"}
    measured_ = [name for name in values_at(0.3, task) if name not in beside]
    assert measured_ == [metric.value for metric in metrics_of(task) if metric is not Metric.VAL_LOSS]


@each_metric
def test_better_predictions_have_better_scores(metric):
    for task in METRICS[metric].tasks:
        perfect, near, far = (values_at(noise, task)[metric.value] for noise in (0.0, 0.4, 1.2))
        assert metric.better(perfect, near), metric.mode
        assert metric.better(near, far), metric.mode
        assert metric.better(far, metric.worst)
        assert all(math.isfinite(value) for value in (perfect, near, far))


@each_metric
def test_a_recipe_of_each_of_its_tasks_can_name_it(metric):
    for task in METRICS[metric].tasks:
        recipe = parse_recipe(
            {
                "data": {"source": "table", "path": "images.csv", "task": task},
                "model": {"backbone": "resnet18"},
                "train": {"stages": [{"name": "head", "unfreeze_from": "head"}], "metric": metric.value},
            }
        )
        assert recipe.train.metric is metric


@each_metric
def test_labels_say_its_name_and_its_better_side(metric):
    name = words(metric.value)
    assert "_" not in name
    assert axis_title(metric) == f"{name} ({'lower' if metric.mode == 'min' else 'higher'} is better)"


def test_what_is_not_given_is_not_measured():
    assert measured() == {}
    assert {*measured(numbers=(NUMBERS, NUMBERS))} == {m.value for m in Metric if METRICS[m].of == "numbers"}
