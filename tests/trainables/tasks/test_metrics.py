import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn import metrics as sk

from trainables.core.vocabulary import FALLBACK_ORDER, Metric, metrics_of
from trainables.tasks.metrics import above_chance, auc, corrected_score, evaluate, mean_ranks, score_of


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def by_sklearn(probabilities, labels):
    c = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of undefined values, which are what is compared
        with np.errstate(all="ignore"):
            adjusted = sk.balanced_accuracy_score(labels, predicted, adjusted=True)
            auc_options = {"multi_class": "ovr", "labels": range(c)} if c > 2 else {}
            return {
                "adjusted_balanced_accuracy": adjusted if math.isfinite(adjusted) else math.nan,
                "kappa": sk.cohen_kappa_score(labels, predicted),
                "auc": sk.roc_auc_score(labels, probabilities if c > 2 else probabilities[:, 1], **auc_options),
                "macro_f1": sk.f1_score(labels, predicted, average="macro", zero_division=0),
                "accuracy": sk.accuracy_score(labels, predicted),
                "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
                "corrected_balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
                "corrected_macro_f1": sk.f1_score(labels, predicted, average="macro", zero_division=0),
                "classes_predicted": len(set(predicted)),
            }


def assert_as_sklearn(probabilities, labels):
    c = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    got = evaluate(probabilities, labels)
    assert got.metrics == pytest.approx(by_sklearn(probabilities, labels), nan_ok=True, abs=1e-12)
    rows = sk.precision_recall_fscore_support(labels, predicted, labels=range(c), zero_division=0)
    for name, row in zip(("precision", "recall", "f1", "true_count"), rows, strict=True):
        assert got.per_class[name] == pytest.approx(row), name
    assert got.per_class["predicted_count"] == np.bincount(predicted, minlength=c).tolist()
    assert got.confusion == sk.confusion_matrix(labels, predicted, labels=range(c)).tolist()


CONSTANT = np.tile([0.5, 0.3, 0.2], (4, 1))
SPREAD = np.array([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4], [0.6, 0.2, 0.2]])


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        pytest.param(SPREAD, [0, 1, 2, 0], id="all right"),
        pytest.param(SPREAD, [1, 2, 0, 1], id="all wrong"),
        pytest.param(CONSTANT, [0, 1, 2, 2], id="constant prediction: kappa 0, AUC 0.5"),
        pytest.param(SPREAD, [0, 1, 1, 0], id="a class is absent but predicted"),
        pytest.param(CONSTANT, [0, 1, 1, 0], id="a class is absent and not predicted"),
        pytest.param(SPREAD, [2, 2, 2, 2], id="one class in the truth"),
        pytest.param(CONSTANT, [0, 0, 0, 0], id="one class throughout: kappa and adjusted accuracy undefined"),
        pytest.param(SPREAD[:, :2] / SPREAD[:, :2].sum(axis=1, keepdims=True), [0, 1, 1, 0], id="two classes"),
        pytest.param(np.full((4, 2), 0.5), [0, 1, 1, 0], id="two classes, all tied"),
        pytest.param(np.full((2, 2), 0.5), [1, 1], id="two classes, one absent"),
    ],
)
def test_every_number_is_scikit_learns(probabilities, labels):
    assert_as_sklearn(probabilities, labels)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, 5), st.integers(1, 30))
def test_every_number_is_scikit_learns_whatever_is_tied_or_absent(data, c, n):
    # Few distinct values tie often; rows that need not sum to 1 exactly are normalised last.
    weights = data.draw(st.lists(st.lists(st.integers(1, 4), min_size=c, max_size=c), min_size=n, max_size=n))
    labels = data.draw(st.lists(st.integers(0, c - 1), min_size=n, max_size=n))
    probabilities = np.array(weights, dtype=float)
    assert_as_sklearn(probabilities / probabilities.sum(axis=1, keepdims=True), labels)


def test_every_number_is_scikit_learns_on_a_long_tail():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), [500, 300, 180, 108, 65, 39, 23, 14, 8, 5])
    logits = rng.normal(size=(len(labels), 10)) + 2 * np.eye(10)[labels] + np.linspace(2, 0, 10)
    assert_as_sklearn(softmax(logits), labels)


def test_only_the_corrected_numbers_know_of_the_learned_prior():
    rng = np.random.default_rng(0)
    labels, prior = rng.integers(0, 3, size=200), np.array([2.0, 0.9, 0.1])
    p = softmax(rng.normal(size=(200, 3)) + 2 * np.eye(3)[labels] + np.log(prior))
    raw, corrected = evaluate(p, labels), evaluate(p, labels, learned_prior=prior)
    assert (corrected.confusion, corrected.per_class) == (raw.confusion, raw.per_class)
    changed = {name for name in raw.metrics if raw.metrics[name] != corrected.metrics[name]}
    assert changed == {"corrected_balanced_accuracy", "corrected_macro_f1"}
    expected = by_sklearn(p / prior / (p / prior).sum(axis=1, keepdims=True), labels)
    assert corrected.metrics["corrected_balanced_accuracy"] == pytest.approx(expected["balanced_accuracy"])
    assert corrected.metrics["corrected_macro_f1"] == pytest.approx(expected["macro_f1"])
    assert expected["balanced_accuracy"] > raw.metrics["balanced_accuracy"]


def test_two_class_auc_keeps_the_order_that_rounding_hides_in_the_other_column():
    second = np.array([1e-20, 2e-20, 3e-20, 4e-20])
    probabilities = np.column_stack((1 - second, second))
    assert (probabilities[:, 0] == 1).all()
    assert auc(probabilities, np.array([0, 0, 1, 1])) == 1


def test_half_precision_and_narrow_labels_are_welcome():
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.normal(size=(200, 30))).astype(np.float16)
    labels = rng.integers(0, 30, size=200)
    assert evaluate(probabilities, labels.astype(np.uint8)) == evaluate(probabilities.astype(np.float64), labels)


@pytest.mark.parametrize("rows", [4, 1], ids=["every image", "one image"])
@pytest.mark.parametrize("metric", metrics_of("classification"))
def test_a_network_whose_outputs_are_no_numbers_has_no_score(rows, metric):
    probabilities = np.full((4, 2), 0.5)
    probabilities[:rows] = np.nan
    got = evaluate(probabilities, [0, 1, 1, 0], learned_prior=[0.9, 0.1])
    assert got.metrics.keys() == evaluate(np.full((4, 2), 0.5), [0, 1, 1, 0]).metrics.keys()
    assert all(map(math.isnan, got.metrics.values()))
    assert (got.per_class, got.confusion) == ({}, [])
    got.metrics["val_loss"] = math.nan
    assert score_of(got.metrics, metric) == metric.worst
    assert not math.isfinite(corrected_score(got, metric))


def test_one_class_is_as_good_as_chance_and_as_perfect():
    assert math.isnan(above_chance(1.0, classes=1))
    assert above_chance(0.25, classes=4) == 0
    assert above_chance(1.0, classes=4) == 1


def test_an_evaluation_is_plain_python_with_the_names_of_the_metrics():
    got = evaluate(SPREAD, [0, 1, 2, 0])
    names = {metric.value for metric in metrics_of("classification") if metric != Metric.VAL_LOSS}
    assert set(got.metrics) == names | {"classes_predicted"}
    assert {type(name) for name in got.metrics} == {str}
    assert {type(value) for value in got.metrics.values()} == {float}
    assert json.loads(json.dumps(got.confusion)) == [[2, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert json.loads(json.dumps(got.per_class))["true_count"] == [2, 1, 1]


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (SPREAD, [0, 1, 2, 3], "labels lie in 0 … 3, but the classes are 0 … 2"),
        (SPREAD, [0, 1, 2, -1], "labels lie in -1 … 2"),
        (SPREAD, [0, 1], r"\(4, 3\) and labels \(2,\) are not \[n, c\] and \[n\]"),
        (SPREAD[:, 0], [0, 1, 2, 0], r"probabilities \(4,\)"),
        (np.zeros((0, 3)), [], "n, c ≥ 1"),
    ],
)
def test_what_is_no_evaluation_is_refused(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate(probabilities, labels)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("chosen", "not_finite", "score"),
    [
        pytest.param(Metric.AUC, {}, 0.8, id="the chosen metric"),
        pytest.param(Metric.BALANCED_ACCURACY, {}, 0.5, id="one outside the fallback order"),
        pytest.param(Metric.AUC, {"auc": NAN}, 0.4, id="adjusted balanced accuracy stands in first"),
        pytest.param(Metric.AUC, {"auc": INF}, 0.4, id="infinite is not finite"),
        pytest.param(Metric.AUC, {"auc": NAN, "adjusted_balanced_accuracy": NAN}, 0.3, id="then kappa"),
        pytest.param(Metric.KAPPA, {"kappa": NAN, "adjusted_balanced_accuracy": NAN}, 0.8, id="then AUC"),
        pytest.param(Metric.AUC, {m.value: NAN for m in FALLBACK_ORDER[:3]}, 0.6, id="then macro F1"),
        pytest.param(Metric.AUC, {m.value: NAN for m in FALLBACK_ORDER[:4]}, 0.9, id="then accuracy"),
        pytest.param(Metric.AUC, {m.value: NAN for m in FALLBACK_ORDER}, -INF, id="nothing known is the worst"),
        pytest.param(Metric.VAL_LOSS, {}, 1.5, id="the loss"),
        pytest.param(Metric.VAL_LOSS, {"val_loss": NAN}, INF, id="no accuracy stands in for a loss"),
        pytest.param(Metric.VAL_LOSS, {"val_loss": -INF}, INF, id="an infinite loss is the worst, whatever its sign"),
    ],
)
def test_an_epoch_is_judged_by_the_chosen_metric_or_the_first_finite_one(chosen, not_finite, score):
    values = {
        "adjusted_balanced_accuracy": 0.4,
        "kappa": 0.3,
        "auc": 0.8,
        "macro_f1": 0.6,
        "accuracy": 0.9,
        "balanced_accuracy": 0.5,
        "val_loss": 1.5,
    }
    assert score_of({**values, **not_finite}, chosen) == score


@pytest.mark.parametrize(
    ("chosen", "not_finite", "score"),
    [
        pytest.param(Metric.SPEARMAN, [], 0.7, id="the chosen metric"),
        pytest.param(Metric.SPEARMAN, ["spearman"], -0.1, id="R² stands in for the rank correlation of a constant"),
        pytest.param(Metric.R2, ["r2"], -INF, id="a rank correlation does not stand in for R²"),
        pytest.param(Metric.SPEARMAN, ["spearman", "r2"], -INF, id="nothing known is the worst"),
        pytest.param(Metric.MAE, [], 12.5, id="an error"),
        pytest.param(Metric.MAE, ["mae"], INF, id="nothing stands in for an error"),
        pytest.param(Metric.RMSE, ["rmse"], INF, id="of either kind"),
    ],
)
def test_an_epoch_of_a_regression_falls_back_among_its_own_metrics(chosen, not_finite, score):
    values = {"spearman": 0.7, "r2": -0.1, "mae": 12.5, "rmse": 20.0, "val_loss": 1.1}
    assert score_of({**values, **dict.fromkeys(not_finite, NAN)}, chosen) == score


@pytest.mark.parametrize("metric", list(Metric))
def test_any_known_score_beats_that_of_an_epoch_of_which_nothing_is_known(metric):
    nothing = score_of(dict.fromkeys(Metric, NAN), metric)
    assert metric.better(-1.0, than=nothing)
    assert not metric.better(nothing, than=-1.0)


@pytest.mark.parametrize(
    "values",
    [[3.0, 1.0, 2.0], [1.0] * 3, [2.0, 1.0, 2.0, 1.0, 2.0], [-0.0, 0.0, 1e-300], [1.0, math.nan], [math.inf, 0.0]],
    ids=str,
)
def test_ranks_are_those_of_scipy(values):
    np.testing.assert_array_equal(mean_ranks(np.array(values)), rankdata(values))


@pytest.mark.parametrize(
    ("metric", "score", "corrected"),
    [
        ("balanced_accuracy", 0.5, 1.0),
        ("adjusted_balanced_accuracy", 0.0, 1.0),
        ("macro_f1", 1 / 3, 1.0),
        ("accuracy", 0.5, 0.5),  # there is no such metric corrected
        ("val_loss", 0.7, 0.7),
    ],
)
def test_a_corrected_score_is_the_metric_without_the_learned_prior(metric, score, corrected):
    """The common class always wins, and not once its share is divided out."""
    evaluation = evaluate([[0.9, 0.1], [0.7, 0.3]], [0, 1], learned_prior=[8, 2])
    evaluation.metrics["val_loss"] = 0.7
    assert score_of(evaluation.metrics, Metric(metric)) == pytest.approx(score)
    assert corrected_score(evaluation, Metric(metric)) == pytest.approx(corrected)


def test_a_corrected_score_that_is_no_number_is_the_score():
    evaluation = evaluate([[1.0], [1.0]], [0, 0], learned_prior=[1])
    metric = Metric.ADJUSTED_BALANCED_ACCURACY  # undefined for one class: the fallback judges
    assert corrected_score(evaluation, metric) == score_of(evaluation.metrics, metric)
