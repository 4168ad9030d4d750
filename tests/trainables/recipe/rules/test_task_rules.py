"""What `data.task` asks of a recipe: its defaults, and one message for whatever is the other task's."""

import copy
from typing import get_args

import pytest

from trainables.core.config_errors import ConfigError
from trainables.core.vocabulary import Metric, Task
from trainables.recipe.loss_config import CrossEntropy, Huber, Mse
from trainables.recipe.recipe import parse_recipe
from trainables.recipe.rules.task_rules import task_of

PLAIN = {
    "data": {"source": "table", "path": "scores.csv"},
    "model": {"backbone": "resnet18"},
    "train": {"stages": [{"name": "head", "unfreeze_from": "head"}]},
}
JUDGES = "adjusted_balanced_accuracy, kappa, auc, macro_f1, accuracy, balanced_accuracy, corrected_balanced_accuracy"
REGRESSION = "but data.task is 'regression'"
CLASSIFICATION = "but data.task is 'classification'"


def plain(task="regression", data=None, **train):
    made = copy.deepcopy(PLAIN)
    made["data"] |= {"task": task, **(data or {})}
    made["train"] |= train
    return made


def mistakes(data):
    with pytest.raises(ConfigError) as caught:
        parse_recipe(data)
    return str(caught.value).splitlines()


def test_a_recipe_classifies_unless_it_says_otherwise():
    recipe = parse_recipe(PLAIN)
    assert recipe.data.task == "classification"
    assert (recipe.train.metric, recipe.train.loss) == (Metric.ADJUSTED_BALANCED_ACCURACY, CrossEntropy())
    assert recipe == parse_recipe(plain("classification"))


def test_regression_has_a_metric_and_a_loss_of_its_own():
    recipe = parse_recipe(plain())
    assert (recipe.train.metric, recipe.train.loss) == (Metric.SPEARMAN, Huber(kind="huber", delta=1.0))


@pytest.mark.parametrize(
    ("train", "metric", "loss"),
    [
        ({"metric": "mae"}, Metric.MAE, Huber(kind="huber")),
        ({"loss": {"kind": "mse"}}, Metric.SPEARMAN, Mse(kind="mse")),
        (
            {"metric": "val_loss", "loss": {"kind": "huber", "delta": 0.5}},
            Metric.VAL_LOSS,
            Huber(kind="huber", delta=0.5),
        ),
    ],
)
def test_what_a_regression_says_beats_its_defaults(train, metric, loss):
    recipe = parse_recipe(plain(**train))
    assert (recipe.train.metric, recipe.train.loss) == (metric, loss)


@pytest.mark.parametrize("task", get_args(Task))
def test_a_recipe_written_down_is_the_same_recipe(task):
    recipe = parse_recipe(plain(task))
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            plain(metric="kappa"),
            [
                f"train.metric: 'kappa' is a metric of classification, {REGRESSION}; use one of val_loss, spearman, r2, mae, rmse"
            ],
            id="a metric of classification",
        ),
        pytest.param(
            plain(early_stop={"metric": "kappa"}),
            [
                f"train.early_stop.metric: 'kappa' is a metric of classification, {REGRESSION}; "
                "use one of val_loss, spearman, r2, mae, rmse"
            ],
            id="a metric of classification that would end the run",
        ),
        pytest.param(
            plain("classification", stages=[{"name": "head", "unfreeze_from": "head", "plateau": {"metric": "mae"}}]),
            [
                f"train.stages[0].plateau.metric: 'mae' is a metric of regression, {CLASSIFICATION}; use one of "
                f"{JUDGES}, corrected_macro_f1, val_loss"
            ],
            id="a metric of regression that would end a stage",
        ),
        pytest.param(
            plain("classification", metric="mae"),
            [
                f"train.metric: 'mae' is a metric of regression, {CLASSIFICATION}; "
                f"use one of {JUDGES}, corrected_macro_f1, val_loss"
            ],
            id="a metric of regression",
        ),
        pytest.param(
            plain(loss={"kind": "ldam"}),
            [f"train.loss.kind: 'ldam' is a loss of classification, {REGRESSION}; use one of huber, mse"],
            id="a loss of classification",
        ),
        pytest.param(
            plain("classification", loss={"kind": "huber"}),
            [
                f"train.loss.kind: 'huber' is a loss of regression, {CLASSIFICATION}; "
                "use one of cross_entropy, focal, balanced_softmax, ldam"
            ],
            id="a loss of regression",
        ),
        pytest.param(
            plain(drw={"start_epoch": 2}),
            [f"train.drw: applies only to classes, {REGRESSION}; remove it"],
            id="re-weighting",
        ),
        *(
            pytest.param(
                plain(balance=balance),
                [f"train.balance: {balance!r} applies only to classes, {REGRESSION}; remove it"],
                id=balance,
            )
            for balance in ("sampler", "class_weights", "auto")
        ),
        pytest.param(
            plain(stop_on=["nan", "stuck_auc", "collapse", "drw_drop"]),
            [
                f"train.stop_on[1]: 'stuck_auc' applies only to classes, {REGRESSION}; remove it",
                f"train.stop_on[3]: 'drw_drop' applies only to classes, {REGRESSION}; remove it",
            ],
            id="flags that cannot be raised",
        ),
        pytest.param(
            plain(data={"labels": {1: "a", 2: "b"}, "long_tail": {"imbalance": 10}}),
            [
                "data.labels: applies only to classes, but data.task is 'regression'; remove it",
                "data.long_tail: applies only to classes, but data.task is 'regression'; remove it",
            ],
            id="options of the data",
        ),
        pytest.param(
            plain(data={"source": "digits"}),
            ["data.task: 'regression' needs source 'table' with a column of numbers; 'digits' has only classes"],
            id="a source without numbers",
        ),
        pytest.param(
            plain("regresion", metric="mae"),
            ["data.task: 'regresion': input should be 'classification' or 'regression'"],
            id="no task: nothing is said of what belongs to which",
        ),
        pytest.param(
            plain(loss={"kind": "huber", "delta": 0}),
            ["train.loss.delta: 0: input should be above 0"],
            id="delta",
        ),
        pytest.param(
            plain(loss={"kind": "ldam"}, metric="auc", batch_size=0, data={"fold": 1}),
            [
                "data.fold: 1: there are no folds; set their number in data.folds, or remove it",
                "train.batch_size: 0: input should be at least 1",
                f"train.metric: 'auc' is a metric of classification, {REGRESSION}; "
                "use one of val_loss, spearman, r2, mae, rmse",
                f"train.loss.kind: 'ldam' is a loss of classification, {REGRESSION}; use one of huber, mse",
            ],
            id="all at once, with mistakes of other kinds",
        ),
    ],
)
def test_what_belongs_to_the_other_task_is_refused(data, expected):
    assert mistakes(data) == expected


@pytest.mark.parametrize("train", [None, [], "x", {"loss": "huber"}, {"stop_on": 3}, {"metric": {}}, {"loss": {}}])
def test_what_is_no_config_at_all_is_told_and_not_tripped_over(train):
    for task in get_args(Task):
        assert mistakes({**plain(task), "train": train})


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": []}, {"data": {"source": "table"}}])
def test_no_word_of_a_task_is_classification(data):
    assert task_of(data) == "classification"
