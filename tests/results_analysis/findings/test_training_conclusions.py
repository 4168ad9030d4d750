"""Conclusions of a single training run, in words: each sentence where its numbers call for it, and nowhere else."""

import math

import pytest

from results_analysis.findings.finding import Topic
from results_analysis.findings.training_conclusions import RunEvidence, epoch_names, training_conclusions
from results_analysis.tables.training_run.snapshot import take_training_snapshot
from results_analysis.tables.training_run.stages import ended
from tests.support.trained_runs import write_training
from trainables.core.vocabulary import Metric

NAN = math.nan


@pytest.fixture
def said(tmp_path):
    """`said(topic, scores, …)`: the conclusions of such a run about a topic, as one text."""

    def say(topic, *args, **kinds):
        run = write_training(tmp_path / "run", *args, **kinds)
        found = training_conclusions(RunEvidence(take_training_snapshot(run), ["mine"]))
        return " ".join(" ".join(filter(None, (c.text, c.command))) for c in found if c.topic is topic)

    return say


def accuracies(train, validation):
    """Fields of the epochs of a run of two."""
    return {2: {"train_accuracy": train, "accuracy": validation}}


@pytest.mark.parametrize(
    ("topic", "kinds", "text"),
    [
        (Topic.RESULT, {}, "The best balanced accuracy is 0.7000, in epoch 2 of 2 (stage head). thaw export mine"),
        (Topic.RESULT, {"scores": ()}, "No epoch has finished yet."),
        (Topic.RESULT, {"scores": (NAN, NAN)}, "None of 2 epochs has a balanced accuracy: training diverged."),
        (Topic.RESULT, {"status": "running"}, "The run is not finished: 2 epochs of at most 6 so far."),
        (Topic.RESULT, {"stopped_for": "collapse"}, "stopped after epoch 2 for collapse: classes never predicted"),
        (
            Topic.RESULT,
            {"fields": accuracies(0.4, 0.3), "images": [60, 30, 10]},
            "Accuracy 0.3000 is no better than predicting class cat for all images, which gives 0.6000.",
        ),
        (
            Topic.RESULT,
            {"scores": (0.5, 0.6, 0.6, 0.75, 0.7, 0.7)},
            "By stage: head reached 0.6000, top added 0.1500.",
        ),
        (Topic.SURE, {}, "95% interval, bootstrap over 120 validation images"),
        (Topic.SURE, {"metric": Metric.MAE, "task": "regression"}, "How much MAE would change"),
        (Topic.FLAGGED, {}, "No epoch was flagged."),
        (Topic.FLAGGED, {"flags": {1: ["spike"], 2: ["spike"]}}, "far above its recent level (spike): epochs 1–2."),
        (Topic.FLAGGED, {"flags": {2: ["collapse"]}}, "The best epoch was flagged: collapse."),
        (
            Topic.FLAGGED,
            {"flags": {1: ["collapse"]}, "metric": Metric.SPEARMAN, "task": "regression"},
            "All images get nearly the same number (collapse): epoch 1.",
        ),
        (Topic.FLAGGED, {"classes": ("only",)}, "The data has only one class"),
        (
            Topic.FLAGGED,
            {"status": "running", "error": "Traceback\na.b.BadError: 3 ran out\n"},
            "The run failed: BadError: 3 ran out",
        ),
        (
            Topic.FLAGGED,
            {
                "scores": (0.1, 0.2, 0.3, 0.4, 0.5),
                "fields": {n: {"grad_norm": 50.0 if n == 3 else 1.0} for n in range(1, 6)},
            },
            "over 10 times as large as usual in epoch 3 (median norm 1)",
        ),
        (
            Topic.LIMITS,
            {"fields": accuracies(0.99, 0.7)},
            "its training accuracy rose to 0.990, its validation accuracy only to 0.700.",
        ),
        (Topic.LIMITS, {"fields": accuracies(0.71, 0.7)}, "The network underfits: it gets only 0.710"),
        (
            Topic.LIMITS,
            {
                "scores": (0.7, 0.6),
                "fields": {1: {"train_accuracy": 0.57, "accuracy": 0.56}, 2: {"train_accuracy": 0.8, "accuracy": 0.5}},
            },
            "The network overfits: its training accuracy rose to 0.800, its validation accuracy only to 0.560.",
        ),
        (
            Topic.LIMITS,
            {"scores": (0.5, 0.7, 0.2)},
            "The validation loss was lowest in epoch 2 (1.3) and rose to 1.8 by epoch 3, while the training loss still fell",
        ),
        (Topic.NEXT, {"status": "running"}, "recipe.yaml --resume 0000 --runs"),
        (Topic.NEXT, {"flags": {2: ["nan"]}}, "lower the learning rates to a third, and clip gradients"),
        (Topic.NEXT, {"flags": {2: ["collapse"]}}, "although they are of about the same size"),
        (Topic.NEXT, {"flags": {2: ["collapse"]}, "images": [90, 10, 10]}, "has 9 times the images of the smallest"),
        (Topic.NEXT, {"scores": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)}, "give the last stage more than its 4 epochs"),
        (Topic.NEXT, {"scores": (0.5, 0.6, 0.61, 0.5, 0.5, 0.5)}, "The 3 epochs after the best one gained nothing"),
        (Topic.NEXT, {"scores": (0.5, 0.6, 0.5, 0.5, 0.5, 0.5)}, "(stage top) gained nothing: end before it"),
        (
            Topic.NEXT,
            {"scores": (0.3, 0.4, 0.8, 0.8, 0.8, 0.8)},
            "a further stage that opens more blocks may gain more",
        ),
        (
            Topic.NEXT,
            {"environment": {"training_images": 400}},
            "(400 training images, fewer than 1,000) the rule of thumb",
        ),
        (Topic.NEXT, {"status": "running", "error": "KeyError: 3"}, "When the cause is mended, resume it;"),
    ],
)
def test_a_run_is_told_of_in_words(said, topic, kinds, text):
    assert text in said(topic, **kinds)


@pytest.mark.parametrize(
    ("topic", "kinds", "text"),
    [
        (Topic.LIMITS, {"fields": accuracies(0.75, 0.7)}, "network"),
        (
            Topic.LIMITS,
            {"fields": accuracies(0.99, 0.7), "data": {"source": "digits", "long_tail": {"imbalance": 9}}},
            "accuracy",
        ),
        (Topic.NEXT, {}, "rule of thumb"),  # the run does not say how many images it trained on
        (Topic.NEXT, {"scores": (0.5, 0.6, 0.6, 0.61, 0.6, 0.6)}, "may gain more"),
    ],
)
def test_what_the_numbers_do_not_call_for_is_not_said(said, topic, kinds, text):
    assert text not in said(topic, **kinds)


@pytest.mark.parametrize(
    ("epochs", "text"),
    [([3], "epoch 3"), ([3, 4, 5, 9], "epochs 3–5, 9"), (list(range(1, 20, 2)), "10 epochs, the first of them 1")],
)
def test_epochs_are_named_as_ranges(epochs, text):
    assert epoch_names(epochs) == text


@pytest.mark.parametrize(
    ("fields", "is_last", "text"),
    [
        ({"stage_end": "plateau of 5 epochs at 0.41"}, False, "plateau of 5 epochs at 0.41"),
        ({}, False, "plateau"),  # an older run: fewer epochs than it could have
        ({}, True, "early stop"),
        ({"epoch_in_stage": 9}, False, "all its 9 epochs"),
        ({"stopped_for": "nan"}, True, "stopped for nan"),
        ({"stage_over": False}, False, "not ended"),
    ],
)
def test_a_stage_ended_for_a_reason_also_in_older_runs(fields, is_last, text):
    report = {"epoch_in_stage": 3, "stage_over": True, "finished": False, "stopped_for": None}
    assert ended(report | fields, 9, is_last=is_last) == text
