"""Epochs of a run as frames."""

import math

import pandas as pd
import pytest

from results_analysis.runs.run import RunError, load
from tests.results_analysis.runs.test_run import report, reports_of, write_run, write_trial
from trainables.core.vocabulary import Flag
from trainables.run_folder.layout import RunLayout

TRIALS = [{"scores": [0.2, 0.6, 0.4]}, {"status": "running"}, {"scores": [0.5], "epoch": {"flags": (Flag.GAP,)}}]


@pytest.fixture
def run(tmp_path):
    return load(write_run(tmp_path / "r", TRIALS))


def write_lines(run, number, *lines):
    run.layout.trial(number).epochs.write_text("".join(f"{line}\n" for line in lines))


# --- curves ---------------------------------------------------------------------------------------------------------


def test_curves_hold_the_asked_fields_of_all_epochs_of_all_trials(run):
    curves = run.curves(["score", "stage", "val_loss", "flags"])
    assert list(curves.columns) == ["trial", "epoch", "score", "stage", "val_loss", "flags"]
    assert curves.to_numpy().tolist() == [
        [0, 1, 0.2, "head", 1.8, ""],
        [0, 2, 0.6, "head", 1.4, ""],
        [0, 3, 0.4, "top", 1.6, ""],
        [2, 1, 0.5, "head", 1.5, "gap"],
    ]


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("score", "float64"),
        ("stage_index", "Int64"),
        ("stage", "string"),
        ("finished", "boolean"),
        ("uncached", "float64"),
    ],
)
def test_curves_have_the_type_of_their_values(run, field, kind):
    curves = run.curves([field])
    assert curves.dtypes.astype(str).to_dict() == {"trial": "int64", "epoch": "int64", field: kind}


def test_what_an_epoch_has_not_is_missing(run):
    write_lines(
        run,
        0,
        report(1, math.nan, metrics={"accuracy": 0.5}).to_json(),
        report(2, 0.5, metrics={"kappa": 0.5}).to_json(),
    )
    curves = run.curves(["score", "accuracy", "auc"])
    assert curves["score"].isna().tolist() == [True, False, False]
    assert curves["accuracy"].isna().tolist() == [False, True, False]
    assert curves["auc"].isna().all()


def test_fields_that_only_some_reports_have_can_be_asked_for(run):
    write_lines(run, 0, report(1, 0.5, metrics={"kappa": 0.5, "raw_kappa": 0.25}).to_json())
    assert run.curves(["raw_kappa"])["raw_kappa"].tolist()[0] == 0.25


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("vall_loss", r"^no field 'vall_loss' in the epoch reports; did you mean 'val_loss'\?$"),
        ("qqq", r"^no field 'qqq' in the epoch reports; valid: accuracy, .*train_loss"),
        ("metrics", r"^no field 'metrics' in the epoch reports"),
        (
            "confusion",
            r"^confusion has more than one value per epoch: use per_class\(\), confusion\(\) or reports\(\)$",
        ),
    ],
)
def test_fields_that_are_no_curves_are_refused(run, field, message):
    with pytest.raises(RunError, match=message):
        run.curves(["score", field])


def test_curves_of_a_run_without_epochs_are_an_empty_frame_of_the_asked_fields(tmp_path):
    curves = load(write_run(tmp_path / "r", [{}])).curves(["score", "raw_kappa"])
    assert curves.empty
    assert list(curves.columns) == ["trial", "epoch", "score", "raw_kappa"]


@pytest.mark.parametrize("damage", ["{", "7", "{}"])
def test_curves_leave_out_a_trial_whose_epochs_are_damaged(run, damage):
    write_lines(run, 0, damage, *(r.to_json() for r in reports_of([0.1, 0.2])))
    assert run.curves(["score"])["trial"].tolist() == [2]


def test_curves_take_a_torn_last_line_for_not_written(run):
    with run.layout.trial(0).epochs.open("a") as file:
        file.write('{"epoch": 4, "sta')
    assert run.curves(["score"])["epoch"].tolist() == [1, 2, 3, 1]


# --- all fields -----------------------------------------------------------------------------------------------------


def test_epochs_are_every_field_of_one_trial_or_of_all(run):
    one, every = run.epochs(0), run.epochs()
    assert one["epoch"].tolist() == [1, 2, 3]
    assert one["kappa"].tolist() == [0.2, 0.6, 0.4]
    assert every["trial"].tolist() == [0, 0, 0, 2]
    pd.testing.assert_frame_equal(every[every["trial"] == 0], one)
    assert not {"per_class", "confusion"} & set(every.columns)


def test_a_field_that_only_a_later_trial_has_is_missing_before(run):
    write_lines(run, 2, report(1, 0.5, metrics={"kappa": 0.5, "raw_kappa": 0.25}).to_json())
    assert run.epochs()["raw_kappa"].isna().tolist() == [True, True, True, False]


def test_epochs_of_a_run_without_any_are_an_empty_frame(tmp_path):
    root = write_run(tmp_path / "r")
    assert list(load(root).epochs().columns) == ["trial", "epoch"]
    write_trial(RunLayout(root), 0)
    assert load(root).epochs(0).empty


# --- classes --------------------------------------------------------------------------------------------------------


def test_classes_are_told_of_each_trials_best_epoch_or_of_all(run):
    best, every = run.per_class(), run.per_class(every_epoch=True)
    assert best[["trial", "epoch", "class", "recall"]].to_numpy().tolist() == [
        [0, 2, 0, 0.5],
        [0, 2, 1, 1.0],
        [2, 1, 0, 0.5],
        [2, 1, 1, 1.0],
    ]
    assert every["epoch"].tolist() == [1, 1, 2, 2, 3, 3, 1, 1]
    assert list(best.columns)[3:] == ["precision", "recall", "f1", "true_count", "predicted_count"]
    assert best["f1"].isna().all()


def test_confusion_is_a_square_of_true_by_predicted_classes_of_the_best_epoch(run):
    lines = [report(n, 1 / n, best=(1, 1.0), confusion=[[n, 0], [1, 2]]).to_json() for n in (1, 2)]
    write_lines(run, 0, *lines)
    best, second = run.confusion(0), run.confusion(0, epoch=2)
    assert best.to_numpy().tolist() == [[1, 0], [1, 2]]
    assert (best.index.name, best.columns.name) == ("true", "predicted")
    assert second.loc[0, 0] == 2


@pytest.mark.parametrize(
    ("number", "epoch", "message"),
    [
        (0, 9, r"trial 0 of run 'r' has not finished epoch 9; it has finished 3"),
        (1, None, r"trial 1 of run 'r' has not finished an epoch; it has finished 0"),
        (7, None, r"run 'r' has no trial 7"),
    ],
)
def test_a_confusion_that_is_not_there_is_refused(run, number, epoch, message):
    with pytest.raises(RunError, match=message):
        run.confusion(number, epoch)


def test_a_regression_has_no_classes(run):
    write_lines(run, 0, report(1, 0.5, per_class={}, confusion=[]).to_json())
    assert set(run.per_class()["trial"]) == {2}
    with pytest.raises(RunError, match="trial 0 of run 'r' has no confusion matrix"):
        run.confusion(0)
