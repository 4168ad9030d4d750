import math

import numpy as np
import pytest

from trainables.core.vocabulary import Flag, Metric
from trainables.tasks.metrics import evaluate
from trainables.training.history.warning_flags import (
    EpochHealth,
    accuracy_for_shares,
    dropped_after_drw,
    flag_that_stops,
    flags_of,
    has_accuracy_gap,
    has_collapsed,
    has_gap,
    is_auc_stuck,
    is_spike,
    predicts_one_number,
)

NAN, INF = math.nan, math.inf

# --- one epoch ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes_predicted", "classes", "adjusted_balanced_accuracy", "kappa", "collapsed"),
    [
        pytest.param(1, 4, 0.0, 0.0, True, id="one class for everything"),
        pytest.param(2, 4, 0.03, 0.01, True, id="two of four classes, at random"),
        pytest.param(1, 2, 0.0, 0.0, True, id="one of two classes"),
        pytest.param(3, 4, -0.05, -0.02, True, id="worse than chance"),
        pytest.param(9, 10, 0.60, 0.65, False, id="the rarest class is not found yet"),
        pytest.param(4, 10, 0.09, 0.15, False, id="early: common classes are told apart, rare ones missing"),
        pytest.param(4, 10, 0.12, 0.04, False, id="early: recall is above chance"),
        pytest.param(10, 10, 0.0, 0.0, False, id="at chance but using every class: has not learned yet"),
        pytest.param(4, 4, 0.9, 0.9, False, id="well"),
        pytest.param(3, 4, 0.1, 0.0, False, id="recall on the border"),
        pytest.param(3, 4, 0.0, 0.05, False, id="kappa on the border"),
        pytest.param(1, 4, math.nan, 0.0, False, id="one class in the validation split shows nothing"),
        pytest.param(1, 4, 0.0, math.nan, False, id="undefined kappa shows nothing"),
    ],
)
def test_a_network_that_no_longer_tells_classes_apart_has_collapsed(
    classes_predicted, classes, adjusted_balanced_accuracy, kappa, collapsed
):
    verdict = has_collapsed(
        classes_predicted=classes_predicted,
        classes=classes,
        adjusted_balanced_accuracy=adjusted_balanced_accuracy,
        kappa=kappa,
    )
    assert verdict is collapsed


LONG_TAIL = np.repeat(np.arange(4), [90, 6, 3, 1])


@pytest.mark.parametrize(
    ("predicted", "accuracy", "collapsed"),
    [
        pytest.param(np.zeros(100, dtype=int), 0.90, True, id="always the commonest class"),
        pytest.param(np.full(100, 3), 0.01, True, id="always the rarest class"),
        pytest.param(np.minimum(LONG_TAIL, 2), 0.99, False, id="all right but the rarest class"),
        pytest.param(np.minimum(LONG_TAIL, 1), 0.96, False, id="only the two commonest classes, and those right"),
    ],
)
def test_collapse_is_seen_whatever_the_accuracy(predicted, accuracy, collapsed):
    metrics = evaluate(np.eye(4)[predicted], LONG_TAIL).metrics
    assert metrics["accuracy"] == accuracy
    numbers = {name: metrics[name] for name in ("classes_predicted", "adjusted_balanced_accuracy", "kappa")}
    assert has_collapsed(classes=4, **numbers) is collapsed


@pytest.mark.parametrize(
    ("spread", "collapsed"), [(0.0, True), (0.009, True), (0.01, False), (0.5, False), (3.0, False), (math.nan, False)]
)
def test_a_regression_that_predicts_one_number_has_collapsed(spread, collapsed):
    assert predicts_one_number(spread) is collapsed


# --- epochs so far --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "spike"),
    [
        pytest.param([9.0], False, id="one epoch has no level"),
        pytest.param([1.0, 1.0, 9.0], False, id="nor have two"),
        pytest.param([1.0, 1.0, 1.0, 9.0], True, id="three have"),
        pytest.param([1.0, 1.0, 1.0, 2.1], False, id="twice the level and the margin is on the border"),
        pytest.param([1.0, 1.0, 1.0, 2.11], True, id="just above it"),
        pytest.param([0.01, 0.01, 0.01, 0.1], False, id="near 0 losses multiply for nothing"),
        pytest.param([100.0, 100.0, 100.0, 201.0], True, id="the scale of the loss does not matter"),
        pytest.param([3.0, 2.0, 1.5, 1.2, 1.0], False, id="falling"),
        pytest.param([9.0] * 6 + [1.0] * 5 + [3.0], True, id="what is long past is no level"),
        pytest.param([1.0, 1.0, 1.0, 9.0, 1.0], False, id="past is past"),
        pytest.param([1.0, 1.0, 9.0, 1.0, 1.0, 3.0], True, id="an earlier spike does not lift the level"),
        pytest.param([1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0], False, id="a level that lasts is no spike"),
        pytest.param([1.0, 1.0, 1.0, NAN], False, id="what is no number is no spike"),
        pytest.param([1.0, 1.0, 1.0, INF], False, id="nor is what is infinite"),
        pytest.param([1.0, NAN, 1.0, INF, 1.0, 9.0], True, id="and no level"),
        pytest.param([1.0, NAN, 1.0, 9.0], False, id="so that too few may be left"),
    ],
)
def test_a_loss_far_above_its_recent_level_is_a_spike(losses, spike):
    assert is_spike(losses) is spike


@pytest.mark.parametrize(
    ("before", "since", "metric", "dropped"),
    [
        pytest.param([0.5, 0.6], [0.4] * 5, Metric.KAPPA, True, id="fell and stayed"),
        pytest.param([0.5, 0.6], [0.4] * 4, Metric.KAPPA, False, id="has an epoch left to come back"),
        pytest.param([0.5, 0.6], [0.4] * 20, Metric.KAPPA, True, id="still"),
        pytest.param([0.5, 0.6], [0.4, 0.4, 0.7, 0.4, 0.4], Metric.KAPPA, False, id="came back once"),
        pytest.param(
            [0.6, 0.5], [0.5, 0.55, 0.56, 0.57, 0.58], Metric.KAPPA, True, id="the best before is what counts"
        ),
        pytest.param([0.5, 0.6], [0.595] * 5, Metric.KAPPA, False, id="close enough"),
        pytest.param([], [0.4] * 9, Metric.KAPPA, False, id="re-weighted from the start"),
        pytest.param([0.5] * 9, [], Metric.KAPPA, False, id="not re-weighted yet"),
        pytest.param([-INF], [0.4] * 5, Metric.KAPPA, False, id="no score before"),
        pytest.param([0.5], [-INF] * 5, Metric.KAPPA, True, id="no score since"),
        pytest.param([0.5, 0.6], [0.7] * 5, Metric.VAL_LOSS, True, id="a loss falls by rising"),
        pytest.param([0.5, 0.6], [0.7, 0.4, 0.7, 0.7, 0.7], Metric.VAL_LOSS, False, id="and comes back by falling"),
        pytest.param([0.5, 0.6], [0.505] * 5, Metric.VAL_LOSS, False, id="a loss close enough"),
    ],
)
def test_a_score_that_re_weighting_cost_is_noticed(before, since, metric, dropped):
    assert dropped_after_drw(before, since, metric) is dropped


@pytest.mark.parametrize(
    ("aucs", "stuck"),
    [
        ([0.5] * 9, False),
        ([0.5] * 10, True),
        ([0.69] * 30, True),
        ([0.5] * 9 + [0.7], False),
        ([0.9] + [0.5] * 12, False),
        ([NAN] * 30, False),
        ([NAN, 0.5] * 9, False),
        ([NAN, 0.5] * 10, True),
        ([], False),
    ],
)
def test_an_auc_that_no_epoch_lifts_is_stuck(aucs, stuck):
    assert is_auc_stuck(aucs) is stuck


FALLING = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]


@pytest.mark.parametrize(
    ("train", "val", "gap"),
    [
        pytest.param(FALLING, [1.0, 0.9, 1.0, 1.1, 1.1, 1.2, 1.2], True, id="validation rises while training falls"),
        pytest.param([30 * x for x in FALLING], [1.0, 0.9, 1.0, 1.1, 1.1, 1.2, 1.2], True, id="whatever the scale"),
        pytest.param(FALLING, [0.1, 0.09, 0.1, 0.11, 0.11, 0.12, 0.12], True, id="of either"),
        pytest.param(FALLING, [1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.95], False, id="it hardly rises"),
        pytest.param(FALLING, [1.0, 0.9, 1.2, 1.2, 0.9, 1.2, 1.2], False, id="it came down in between"),
        pytest.param(FALLING, [1.0, 1.0, 0.9, 1.1, 1.1, 1.2, 1.2], False, id="the low is four epochs back"),
        pytest.param(FALLING[:5], [0.9, 1.0, 1.1, 1.2, 1.3], False, id="five epochs are too few"),
        pytest.param(FALLING[:6], [0.9, 1.0, 1.1, 1.2, 1.3, 1.4], True, id="six are enough"),
        pytest.param([1.0] * 7, [1.0, 0.9, 1.0, 1.1, 1.1, 1.2, 1.2], False, id="training stands still too"),
        pytest.param(FALLING[::-1], [1.0, 0.9, 1.0, 1.1, 1.1, 1.2, 1.2], False, id="both rise: it diverges"),
        pytest.param([*FALLING[:6], NAN], [1.0, 0.9, 1.0, 1.1, 1.1, 1.2, 1.2], False, id="no number shows nothing"),
        pytest.param(FALLING, [NAN, 0.9, 1.0, 1.1, 1.1, 1.2, 1.2], False, id="on either side"),
        pytest.param([1.0], [1.0], False, id="one epoch"),
    ],
)
def test_a_gap_opens_where_validation_turns_and_training_does_not(train, val, gap):
    assert has_gap(train, val) is gap


HIGH, LOW = [0.95] * 8, [0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]


@pytest.mark.parametrize(
    ("train", "validation", "gap"),
    [
        pytest.param(HIGH, LOW, True, id="validation stands still far below"),
        pytest.param(HIGH, [0.5, 0.6, 0.7, 0.7, 0.7, 0.71, 0.7, 0.7], False, id="it still improves"),
        pytest.param(HIGH, [0.5, 0.6, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7], True, id="it fell"),
        pytest.param(HIGH, [0.5, 0.6, 0.8, 0.7, 0.7, 0.76, 0.7, 0.7], False, id="it is near in one epoch"),
        pytest.param([0.89] * 8, LOW, False, id="it is not far below"),
        pytest.param([0.5] * 8, [0.9] * 8, False, id="augmentation and dropout lower training"),
        pytest.param(HIGH[:5], LOW[:5], False, id="five epochs are too few"),
        pytest.param(HIGH[:6], [0.7] * 6, True, id="six are enough"),
        pytest.param([*HIGH[:7], NAN], LOW, False, id="mixed images show nothing"),
        pytest.param(HIGH, [*LOW[:7], NAN], False, id="no number shows nothing"),
        pytest.param([NAN] * 3 + HIGH[:5], [NAN] * 3 + LOW[:5], False, id="nothing is known before"),
        pytest.param([NAN, *HIGH], [NAN, *LOW], True, id="of the first epoch nothing is known"),
    ],
)
def test_a_gap_is_a_training_accuracy_far_above_a_validation_accuracy_that_stands_still(train, validation, gap):
    assert has_accuracy_gap(train, validation) is gap


def test_the_validation_accuracy_is_that_of_the_class_shares_in_training():
    """90 % of the training images are of class 0; the validation split is balanced, with an accuracy of 0.6."""
    assert accuracy_for_shares([1.0, 0.2], [0.9, 0.1]) == pytest.approx(0.92)
    assert accuracy_for_shares([1.0, 0.2], [0.5, 0.5]) == pytest.approx(0.6)
    assert math.isnan(accuracy_for_shares([], [0.5, 0.5]))


# --- all rules ------------------------------------------------------------------------------------------------------


def vitals(**changes):
    well = {"stage": 0, "reweighted": False, "train_loss": 1.0, "val_loss": 1.0, "score": 0.5, "auc": 0.9}
    sound = {"classes_predicted": 4.0, "adjusted_balanced_accuracy": 0.5, "kappa": 0.5}
    return EpochHealth(**{**well, **sound, **changes})


def run_of(epochs, **series):
    """So many epochs; a list gives a field its value in each."""
    return [vitals(**{name: values[i] for name, values in series.items()}) for i in range(epochs)]


GONE = {"classes_predicted": 1.0, "adjusted_balanced_accuracy": 0.0, "kappa": 0.0}


@pytest.mark.parametrize(
    ("history", "flags"),
    [
        pytest.param([vitals()], [], id="a first epoch that is well"),
        pytest.param([vitals()] * 30, [], id="thirty of them"),
        pytest.param([vitals(train_loss=NAN)], ["nan"], id="training loss is no number"),
        pytest.param([vitals(val_loss=INF)], ["nan"], id="validation loss is none"),
        pytest.param([vitals(train_loss=NAN), vitals()], [], id="it was none, but is again"),
        pytest.param([vitals(**GONE)], ["collapse"], id="collapsed from the start"),
        pytest.param([vitals(**GONE), vitals()], [], id="recovered"),
        pytest.param(run_of(4, train_loss=[1, 1, 1, 9.0]), ["spike"], id="training spikes"),
        pytest.param(run_of(4, val_loss=[1, 1, 1, 9.0]), ["spike"], id="validation spikes"),
        pytest.param(
            run_of(5, train_loss=[1, 1, 1, 9.0, 9.0], stage=[0, 0, 0, 1, 1]),
            [],
            id="another stage has another training loss",
        ),
        pytest.param(
            run_of(5, train_loss=[1, 1, 1, 9.0, 9.0], reweighted=[False] * 3 + [True] * 2),
            [],
            id="so have other weights",
        ),
        pytest.param(
            run_of(4, val_loss=[1, 1, 1, 9.0], stage=[0, 0, 0, 1]), ["spike"], id="validation is the same in all stages"
        ),
        pytest.param(
            run_of(6, score=[0.6, *[0.4] * 5], reweighted=[False, *[True] * 5]), ["drw_drop"], id="re-weighting costs"
        ),
        pytest.param(run_of(10, auc=[0.6] * 10), ["stuck_auc"], id="the AUC is stuck"),
        pytest.param(
            run_of(7, train_loss=FALLING, val_loss=[1.0, 0.9, 1.0, 1.1, 1.1, 1.2, 1.2]), ["gap"], id="a gap opens"
        ),
        pytest.param(
            run_of(7, train_loss=FALLING, val_loss=[1.0, 0.9, 1.0, 1.1, 1.1, 1.2, 1.2], stage=[0, 0, 0, 0, 0, 1, 1]),
            [],
            id="a stage begins without a gap",
        ),
        pytest.param(
            run_of(8, train_accuracy=HIGH, accuracy=LOW, stage=[0, 0, 0, 0, 1, 1, 1, 1]), ["gap"], id="over stages"
        ),
        pytest.param(
            [*run_of(9, auc=[0.5] * 9), vitals(auc=0.5, val_loss=9.0, **GONE)],
            ["spike", "collapse", "stuck_auc"],
            id="several, in their order",
        ),
    ],
)
def test_an_epoch_is_flagged_for_what_is_wrong_with_the_run_so_far(history, flags):
    assert list(flags_of(history, classes=4, metric=Metric.KAPPA)) == flags


def regression(**changes):
    return EpochHealth(**{"stage": 0, "reweighted": False, "train_loss": 1.0, "val_loss": 1.0, "score": 0.5, **changes})


@pytest.mark.parametrize(
    ("history", "flags"),
    [
        pytest.param([regression(prediction_spread=0.4)] * 30, [], id="what only classes can show is never raised"),
        pytest.param([regression(prediction_spread=0.001)], ["collapse"], id="one number for all images"),
        pytest.param([regression(prediction_spread=NAN, val_loss=NAN)], ["nan"], id="no number"),
        pytest.param([*[regression()] * 3, regression(val_loss=9.0)], ["spike"], id="a spike"),
    ],
)
def test_a_regression_is_flagged_by_the_rules_that_know_no_classes(history, flags):
    assert list(flags_of(history, classes=0, metric=Metric.SPEARMAN)) == flags


@pytest.mark.parametrize(
    ("flags", "stop_on", "settled", "stops"),
    [
        ([], ["nan", "collapse"], True, None),
        (["collapse"], ["nan"], True, None),
        (["collapse"], ["nan", "collapse"], True, "collapse"),
        (["collapse"], ["nan", "collapse"], False, None),
        (["nan"], ["nan"], False, "nan"),
        (["nan", "collapse"], ["collapse"], True, "collapse"),
        (["nan", "collapse"], ["collapse"], False, None),
        (["nan", "collapse"], ["collapse", "nan"], True, "nan"),
        (["nan"], [], True, None),
    ],
)
def test_a_flag_ends_a_run_that_asks_for_it_and_has_settled(flags, stop_on, settled, stops):
    assert flag_that_stops([Flag(f) for f in flags], [Flag(f) for f in stop_on], settled=settled) == stops
