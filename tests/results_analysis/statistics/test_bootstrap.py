"""Bootstrap intervals and standard errors, beside closed forms and by brute force."""

import math

import numpy as np
import pytest

from results_analysis.statistics.bootstrap import CONFUSION_METRICS, class_intervals, number_intervals, standard_error
from trainables.core.vocabulary import Metric
from trainables.tasks.metrics import evaluate

RANDOM = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [60, 30, 10])
PROBABILITIES = RANDOM.dirichlet([1, 1, 1], 100) * 0.5 + 0.5 * np.eye(3)[LABELS] * RANDOM.random((100, 1))
PROBABILITIES /= PROBABILITIES.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("hits", [30, 60, 90])
def test_the_standard_error_of_accuracy_is_the_binomial_one(hits):
    confusion = [[hits, 100 - hits], [100 - hits, hits]]
    p = hits / 100
    assert standard_error(confusion, Metric.ACCURACY) == pytest.approx(math.sqrt(p * (1 - p) / 200), rel=0.1)


def test_rare_classes_make_balanced_accuracy_uncertain():
    even, uneven = [[80, 20], [10, 40]], [[80, 20], [1, 4]]
    metric = Metric.BALANCED_ACCURACY
    assert standard_error(uneven, metric) > 2 * standard_error(even, metric)
    exact = math.sqrt(0.8 * 0.2 / 100 + 0.8 * 0.2 / 5) / 2
    assert standard_error(uneven, metric) == pytest.approx(exact, rel=0.1)


def test_a_perfect_matrix_and_a_class_without_images_have_an_error_all_the_same():
    for metric in CONFUSION_METRICS:
        assert standard_error([[5, 0], [0, 5]], metric) == 0
        assert math.isfinite(standard_error([[5, 1, 0], [1, 5, 0], [0, 0, 0]], metric))


def test_metrics_of_a_confusion_matrix_are_those_of_an_evaluation():
    found = evaluate(PROBABILITIES, LABELS)
    for metric, tell in CONFUSION_METRICS.items():
        assert tell(np.array(found.confusion)) == pytest.approx(found.metrics[metric], abs=1e-15)


def test_every_metric_lies_in_its_interval():
    prior = [0.6, 0.3, 0.1]
    metrics = evaluate(PROBABILITIES, LABELS, learned_prior=prior).metrics
    loss = -np.log(PROBABILITIES[np.arange(100), LABELS]).mean()
    intervals, recalls = class_intervals(PROBABILITIES, LABELS, learned_prior=prior)
    assert set(intervals) == {*metrics, "val_loss"} - {"classes_predicted"}
    for name, value in {**metrics, "val_loss": loss}.items():
        if name in intervals:
            low, high = intervals[name]
            assert low <= value <= high
            assert high - low < 0.5
    found = evaluate(PROBABILITIES, LABELS).per_class["recall"]
    assert all(low <= recall <= high for (low, high), recall in zip(recalls, found, strict=True))


def test_the_interval_of_a_recall_is_the_binomial_one():
    labels = np.zeros(400, np.int64)
    labels[-1] = 1
    probabilities = np.eye(2)[np.r_[np.zeros(300, np.int64), np.ones(100, np.int64)]]
    _, (first, second) = class_intervals(probabilities, labels, learned_prior=[1, 1])
    exact = 1.96 * math.sqrt(300 / 399 * 99 / 399 / 399)
    assert first[1] - first[0] == pytest.approx(2 * exact, rel=0.1)
    assert second == (1.0, 1.0)  # one image says nothing of others: the card warns of it


def test_a_class_without_validation_images_has_no_interval():
    _, recalls = class_intervals(np.full((4, 3), 1 / 3), np.array([0, 0, 1, 1]), learned_prior=[1, 1, 1])
    assert recalls[2] is None
    assert recalls[0] == (1.0, 1.0)


def test_an_undefined_metric_has_no_interval():
    intervals, _ = class_intervals(np.full((4, 3), 1 / 3), np.array([0, 0, 1, 1]), learned_prior=[1, 1, 1])
    assert "auc" not in intervals
    assert "accuracy" in intervals


def test_intervals_are_the_same_each_time():
    assert class_intervals(PROBABILITIES, LABELS, learned_prior=[1, 1, 1]) == class_intervals(
        PROBABILITIES, LABELS, learned_prior=[1, 1, 1]
    )


def test_metrics_of_numbers_lie_in_their_intervals():
    targets = RANDOM.normal(size=200)
    intervals = number_intervals(targets + RANDOM.normal(size=200), targets)
    assert set(intervals) == {"spearman", "r2", "mae", "rmse", "prediction_spread"}
    low, high = intervals["rmse"]
    assert low < 1 < high
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.2)
