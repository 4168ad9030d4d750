"""`history.png` and `confusion.png`: their numbers, and that they can be drawn for any run."""

import math

import pytest
from PIL import Image

from results_analysis.plots.style import short_labels
from results_analysis.plots.training_run.confusion_png import frequent_mistakes, write_confusion
from results_analysis.plots.training_run.history import history, is_log
from results_analysis.plots.training_run.history_png import write_history
from trainables.core.vocabulary import Metric


def epoch(number, stage="head", **values):
    """An epoch report with the fields that all runs have, old ones too."""
    losses = {"train_loss": 1 / number, "val_loss": 1.2 / number, "score": 1 - 1 / number}
    stages = ["head", "all"]
    report = {"epoch": number, "stage": stage, "stage_index": stages.index(stage), "best_epoch": number}
    return report | losses | {"head_lr": 1e-3, "backbone_lr": 0.0, "head_frozen": False} | values


def test_history_has_stages_and_gaps_where_nothing_was_learnt_or_measured():
    frozen = {"head_frozen": True, "backbone_lr": 1e-4}
    drawn = history([epoch(1), epoch(2, train_loss=None, best_epoch=1), epoch(3, "all", best_epoch=1, **frozen)])

    assert drawn.stages == [("head", 1, 2), ("all", 3, 3)]
    assert drawn.best_epoch == 1
    assert [math.isnan(value) for value in drawn.curves["train_loss"]] == [False, True, False]
    assert [math.isnan(value) for value in drawn.curves["head_lr"]] == [False, False, True]
    assert [math.isnan(value) for value in drawn.curves["backbone_lr"]] == [True, True, False]
    assert "train_accuracy" not in drawn.curves  # not recorded by older runs


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0, 0.9, 0.8], False), ([5000.0, 1.0, 0.9, 0.8], True), ([5000.0, 1.0, 0.0], False), ([math.nan], False)],
)
def test_an_axis_is_logarithmic_where_a_value_dwarfs_the_others(values, expected):
    assert is_log([values]) is expected


def test_most_frequent_mistakes_come_first():
    mistakes = frequent_mistakes([[5, 2, 0], [0, 0, 0], [1, 2, 1]], ["a", "b", "c"], most=2)

    assert mistakes == [("c", "b", 2, 0.5), ("a", "b", 2, 2 / 7)]


def test_names_that_are_cut_alike_stay_apart():
    assert short_labels(["cat", "a_long_name_1", "a_long_name_2"], 9) == ["cat", "a_lo…me_1", "a_lo…me_2"]
    assert short_labels(["a_long_1_name", "a_long_2_name"], 9) == ["a_lo…name (0)", "a_lo…name (1)"]


@pytest.mark.parametrize(
    "reports",
    [
        [epoch(1)],
        [epoch(1, train_loss=None, val_loss=None, score=None, best_epoch=0)],
        [epoch(1), epoch(2, "all", train_accuracy=0.5, accuracy=0.4)],
    ],
    ids=["one epoch", "no number at all", "with accuracies"],
)
def test_a_history_can_be_drawn(tmp_path, reports):
    write_history(reports, Metric.KAPPA, tmp_path / "history.png")

    assert Image.open(tmp_path / "history.png").width > 600


@pytest.mark.parametrize(
    ("names", "confusion"),
    [
        pytest.param(["only"], [[3]], id="one class"),
        pytest.param(["$a_1$", "密度\n<b>"], [[3, 0], [0, 0]], id="odd names"),
        pytest.param([f"{i}" for i in range(45)], [[1] * 45] * 45, id="many classes", marks=pytest.mark.slow),
    ],
)
def test_a_confusion_matrix_can_be_drawn_and_is_the_same_each_time(tmp_path, names, confusion):
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    for file in (first, again) if len(names) == 2 else (first,):
        write_confusion(confusion, names, file)

    assert Image.open(first).height > 300
    assert len(names) != 2 or first.read_bytes() == again.read_bytes()
