"""How sure a score is, held against textbook values and simulation."""

import math

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from results_analysis.statistics.score_interval import proportion_interval, spread_of, standing
from trainables.core.vocabulary import Metric


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0), (0, 0, 0.0, 1.0)],
)  # fmt: skip
def test_wilsons_interval(hits, n, low, high):
    assert proportion_interval(hits, n) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


def report(matrix, **metrics):
    return {"confusion": matrix, **metrics}


def test_the_interval_of_an_accuracy_is_that_of_a_share():
    spread = spread_of(report([[80, 20], [20, 80]], accuracy=0.8), Metric.ACCURACY, images=None)
    assert spread.error == pytest.approx(math.sqrt(0.8 * 0.2 / 200), rel=0.1)
    assert (spread.low, spread.high) == (pytest.approx(0.745, abs=0.012), pytest.approx(0.855, abs=0.012))


def test_balanced_accuracys_interval_covers_draws_of_the_images():
    rng, truth = np.random.default_rng(1), np.repeat([0, 1, 2], [200, 40, 10])
    recall = np.array([0.9, 0.7, 0.6])[truth]
    scores = []
    for _ in range(200):
        predicted = np.where(rng.random(len(truth)) < recall, truth, (truth + 1) % 3)
        scores.append(balanced_accuracy_score(truth, predicted))
    spread = spread_of(
        report([[180, 20, 0], [0, 28, 12], [4, 0, 6]], balanced_accuracy=0.7333), Metric.BALANCED_ACCURACY, images=None
    )
    assert spread.error == pytest.approx(np.std(scores), rel=0.2)


@pytest.mark.parametrize(
    "metric",
    [Metric.KAPPA, Metric.MACRO_F1, Metric.ADJUSTED_BALANCED_ACCURACY, Metric.CORRECTED_BALANCED_ACCURACY, Metric.AUC],
)
def test_every_metric_of_classes_has_a_spread_that_shrinks_with_the_images(metric):
    few, many = (
        spread_of(report([[8 * n, 2 * n], [3 * n, 7 * n]], **{metric.value: 0.75}), metric, images=None)
        for n in (1, 100)
    )
    assert few.low < few.high
    assert 0 < many.error < few.error / 5


def test_no_wrong_image_is_no_certainty():
    spread = spread_of(report([[10, 0], [0, 10]], balanced_accuracy=1.0), Metric.BALANCED_ACCURACY, images=None)
    assert (spread.low, spread.high) == (pytest.approx(0.8389, abs=1e-3), 1.0)
    assert spread.error > 0.05


def test_a_rank_correlations_interval_is_fishers():
    spread = spread_of({"spearman": 0.6, "confusion": []}, Metric.SPEARMAN, images=103)
    assert (spread.low, spread.high) == (pytest.approx(0.454, abs=0.01), pytest.approx(0.714, abs=0.01))


@pytest.mark.parametrize(
    ("found", "metric"),
    [
        ({"val_loss": 0.5, "confusion": [[5, 5], [5, 5]]}, Metric.VAL_LOSS),
        ({"mae": 1.0, "confusion": []}, Metric.MAE),
        ({"spearman": 0.5, "confusion": []}, Metric.SPEARMAN),  # nobody knows of how many images
        ({"kappa": None, "confusion": [[5, 5], [5, 5]]}, Metric.KAPPA),
        ({}, Metric.KAPPA),
    ],
)
def test_what_a_report_cannot_tell_has_no_spread(found, metric):
    assert spread_of(found, metric, images=None) is None


@pytest.mark.parametrize(
    ("scores", "error", "mode", "wins", "optimism", "rivals"),
    [
        ([0.9, 0.5], 0.01, "max", 1.0, 0.0, 1),
        ([0.5, 0.9], 0.01, "min", 1.0, 0.0, 1),
        ([0.9, 0.5, 0.5], 0.01, "min", 0.5, 0.01 / math.sqrt(math.pi), 2),
        ([0.8, 0.8], 0.05, "max", 0.5, 0.05 / math.sqrt(math.pi), 2),  # of two alike: the mean of the greater normal
        ([0.8] * 10, 0.05, "max", 0.1, 0.05 * 1.5388, 10),  # of ten: the mean of their maximum
        ([0.7], 0.05, "max", 1.0, 0.0, 1),
    ],
)
def test_the_first_of_noisy_scores_looks_better_than_it_is(scores, error, mode, wins, optimism, rivals):
    found = standing(scores, error, mode=mode)
    assert found.wins == pytest.approx(wins, abs=0.03)
    assert found.optimism == pytest.approx(optimism, abs=0.003)
    assert found.rivals == rivals
