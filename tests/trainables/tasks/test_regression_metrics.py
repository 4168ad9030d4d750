"""Numbers compared with numbers: what scikit-learn and SciPy say of them, and what is said where these have no answer."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from trainables.core.vocabulary import Metric, metrics_of
from trainables.tasks.regression_metrics import evaluate_numbers

NAN, INF = math.nan, math.inf
NAMES = {metric.value for metric in metrics_of("regression") if metric is not Metric.VAL_LOSS} | {"prediction_spread"}


def oracle(predictions, targets):
    return {
        "spearman": spearmanr(predictions, targets).statistic,
        "r2": r2_score(targets, predictions),
        "mae": mean_absolute_error(targets, predictions),
        "rmse": root_mean_squared_error(targets, predictions),
        "prediction_spread": np.std(predictions) / np.std(targets),
    }


@pytest.mark.parametrize("images", [2, 7, 500])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
@pytest.mark.parametrize("noise", [0.0, 0.5, 5.0])
def test_the_metrics_are_those_of_scikit_learn_and_scipy(images, scale, noise):
    random = np.random.RandomState(images)
    targets = scale * (random.standard_normal(images) + 3)
    predictions = targets + noise * scale * random.standard_normal(images)
    assert evaluate_numbers(predictions, targets).metrics == pytest.approx(oracle(predictions, targets), rel=1e-9)


TIES = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30)


@given(TIES.filter(lambda pairs: all(len(set(side)) > 1 for side in zip(*pairs, strict=True))))
def test_ties_get_their_mean_rank(pairs):
    predictions, targets = (np.array(side, float) for side in zip(*pairs, strict=True))
    assert evaluate_numbers(predictions, targets).metrics == pytest.approx(oracle(predictions, targets), abs=1e-12)


@pytest.mark.parametrize(
    ("predictions", "targets", "expected"),
    [
        pytest.param(
            [2, 2, 2], [1, 2, 3], {"spearman": NAN, "r2": 0.0, "mae": 2 / 3, "prediction_spread": 0.0}, id="the mean"
        ),
        pytest.param([5, 5, 5], [1, 2, 3], {"spearman": NAN, "r2": -13.5, "mae": 3.0}, id="another constant"),
        pytest.param(
            [1, 2, 3],
            [2, 2, 2],
            {"spearman": NAN, "r2": NAN, "mae": 2 / 3, "prediction_spread": NAN},
            id="targets all the same",
        ),
        pytest.param(
            [1, 2, 3], [0.1] * 3, {"r2": NAN, "prediction_spread": NAN}, id="the mean of equal targets is rounded"
        ),
        pytest.param([7], [4], {"spearman": NAN, "r2": NAN, "mae": 3.0, "rmse": 3.0}, id="one image"),
        pytest.param([1, NAN, 3], [1, 2, 3], dict.fromkeys(NAMES, NAN), id="no number"),
        pytest.param([1, 2, INF], [1, 2, 3], dict.fromkeys(NAMES, NAN), id="infinity has a rank, and tells nothing"),
        pytest.param(
            [1, 10, 100], [1, 2, 3], {"spearman": 1.0, "prediction_spread": 54.745}, id="right in order alone"
        ),
        pytest.param([3, 2, 1], [1, 2, 3], {"spearman": -1.0, "r2": -3.0}, id="the wrong way round"),
    ],
)
def test_what_is_undefined_is_nan_and_nothing_else_is(predictions, targets, expected):
    metrics = evaluate_numbers(predictions, targets).metrics
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, nan_ok=True, rel=1e-3)


def test_an_evaluation_is_plain_python_without_classes():
    got = evaluate_numbers(np.array([1.0, 2.0, 2.5]), np.array([1.0, 2.0, 3.0]))
    assert set(json.loads(json.dumps(got.metrics))) == NAMES
    assert {type(value) for value in got.metrics.values()} == {float}
    assert (got.per_class, got.confusion) == ({}, [])


@pytest.mark.parametrize(
    ("predictions", "targets", "message"),
    [
        ([[1.0], [2.0]], [1.0, 2.0], r"predictions \(2, 1\) and targets \(2,\) are not both \[n\]"),
        ([1.0], [1.0, 2.0], r"\(1,\) and targets \(2,\)"),
        ([], [], "n ≥ 1"),
    ],
)
def test_what_is_no_evaluation_is_refused(predictions, targets, message):
    with pytest.raises(ValueError, match=message):
        evaluate_numbers(predictions, targets)
