"""TensorBoard events, read back as TensorBoard reads them."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.util import tensor_util

from search.progress.tensorboard_callback import TensorBoardCallback
from search.progress.tensorboard_events import TrialEvents, write_columns
from spaces import parse_space
from tests.support.ray_trials import ray_trial
from tests.support.small_disk import fill, small_disk
from trainables.core.vocabulary import Flag, Metric, TrialStatus
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import TrialRecord


def report(epoch, **changes):
    return {
        "epoch": epoch,
        "stage": "head",
        "stage_index": 0,
        "head_lr": 0.1,
        "backbone_lr": 0.0,
        "reweighted": epoch > 1,
        "flags": ["gap"] if epoch > 2 else [],
        "train_loss": 2.0 / epoch,
        "val_loss": 3.0 / epoch,
        "kappa": 0.25 * epoch,
        "accuracy": None,
        "score": 0.25 * epoch,
        "best_score": 0.25 * epoch,
        "images_per_s": 100.0,
        "per_class": {"recall": [1.0]},
        **changes,
    }


def read(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def scalars(events, tag):
    return [(event.step, tensor_util.make_ndarray(event.tensor_proto).item()) for event in events.Tensors(tag)]


def hyperparameters(folder):
    """Name -> value, as the plugin finds them; None where there are none."""
    content = read(folder).summary_metadata.get(hparams.SESSION_START_INFO_TAG)
    if content is None:
        return None
    start = hparams.parse_session_start_info_plugin_data(content.plugin_data.content)
    kinds = {name: value.WhichOneof("kind") for name, value in start.hparams.items()}
    return start.group_name, {name: getattr(start.hparams[name], kind) for name, kind in kinds.items()}


def test_curves_have_a_point_for_each_epoch(tmp_path):
    events = TrialEvents(tmp_path / "0000", params={})
    for epoch in (1, 2, 3):
        events.epoch(report(epoch))
    read_back = read(tmp_path / "0000")
    assert scalars(read_back, "loss/train") == [(1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3))]
    assert scalars(read_back, "loss/validation") == [(1, 3.0), (2, 1.5), (3, 1.0)]
    assert scalars(read_back, "validation/kappa") == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert scalars(read_back, "progress/reweighted") == [(1, 0.0), (2, 1.0), (3, 1.0)]
    assert scalars(read_back, "learning_rate/head")[0] == (1, pytest.approx(0.1))


def test_a_full_disk_delays_curves(tmp_path, caplog):
    with small_disk(tmp_path / "disk", 1) as disk:
        events = TrialEvents(disk / "0000", params={})
        events.epoch(report(1))
        fill(disk / "filler")
        for epoch in range(2, 9):  # the first ones still find room in the file's last page
            events.epoch(report(epoch))
        (disk / "filler").unlink()
        events.epoch(report(9))
        (record,) = caplog.records
        assert "No space left on device" in record.getMessage()
        assert [step for step, _ in scalars(read(disk / "0000"), "loss/train")] == list(range(1, 10))


def test_what_has_no_value_has_no_point(tmp_path):
    events = TrialEvents(tmp_path, params={})
    events.epoch(report(1))
    events.epoch(report(2, kappa=None, accuracy=0.5))
    read_back = read(tmp_path)
    assert [step for step, _ in scalars(read_back, "validation/kappa")] == [1]
    assert [step for step, _ in scalars(read_back, "validation/accuracy")] == [2]
    assert "validation/auc" not in read_back.Tags()["tensors"]


@pytest.mark.parametrize("metric", Metric)
def test_every_metric_has_its_curve(tmp_path, metric):
    events = TrialEvents(tmp_path, params={})
    events.epoch(report(1, **{metric.value: 0.125}))
    tag = "loss/validation" if metric is Metric.VAL_LOSS else f"validation/{metric.value}"
    assert scalars(read(tmp_path), tag) == [(1, 0.125)]


@pytest.mark.parametrize(("name", "tag"), [("raw_val_loss", "raw/val_loss"), ("ema_kappa", "ema/kappa")])
def test_weights_that_are_not_judged_have_curves_of_their_own(tmp_path, name, tag):
    events = TrialEvents(tmp_path, params={})
    events.epoch(report(1, **{name: 0.5}))
    assert scalars(read(tmp_path), tag) == [(1, 0.5)]


def test_every_flag_is_a_curve_of_0_and_1(tmp_path):
    events = TrialEvents(tmp_path, params={})
    for epoch in (1, 2, 3):
        events.epoch(report(epoch))
    curves = {flag.value: scalars(read(tmp_path), f"health/{flag}") for flag in Flag}
    assert curves.pop("gap") == [(1, 0.0), (2, 0.0), (3, 1.0)]
    assert all(curve == [(1, 0.0), (2, 0.0), (3, 0.0)] for curve in curves.values())


PARAMS = {
    "train.batch_size": 16,
    "train.stages[*].head_lr": 0.25,
    "train.loss.kind": "ldam",
    "train.nesterov": True,
    "train.ema": None,
}


def test_hyperparameters_are_there_from_the_first_epoch_on(tmp_path):
    events = TrialEvents(tmp_path / "0007", params=PARAMS)
    events.epoch(report(1))  # not closed: the trial is running
    assert hyperparameters(tmp_path / "0007") == ("0007", {**PARAMS, "train.ema": "None"})


def test_a_run_of_no_search_has_no_hyperparameters(tmp_path):
    events = TrialEvents(tmp_path, params={})
    events.epoch(report(1))
    assert hyperparameters(tmp_path) is None


def test_a_run_that_goes_on_adds_to_its_curves(tmp_path):
    for epoch in (1, 2):
        events = TrialEvents(tmp_path, params={})
        events.epoch(report(epoch))
    assert [step for step, _ in scalars(read(tmp_path), "loss/train")] == [1, 2]


def recorded_trial(layout, number):
    record = TrialRecord(number=number, params=PARAMS, status=TrialStatus.RUNNING, started="2025-01-01T00:00:00+00:00")
    record.write(layout.trial(number))
    return ray_trial(number, run=layout.root)


def callback_of(layout, parameters=None):
    callback = TensorBoardCallback(layout.trials, parameters or {}, Metric.KAPPA)
    callback.setup()
    return callback


def ending(folder):
    """How a session ended, as the plugin finds it; None where it has not."""
    content = read(folder).summary_metadata.get(hparams.SESSION_END_INFO_TAG)
    if content is None:
        return None
    return api_pb2.Status.Name(hparams.parse_session_end_info_plugin_data(content.plugin_data.content).status)


@pytest.mark.parametrize(
    ("end", "status"),
    [("on_trial_complete", "STATUS_SUCCESS"), ("on_trial_error", "STATUS_FAILURE"), ("on_experiment_end", None)],
)
def test_each_trial_of_a_search_has_its_events_in_its_folder(tmp_path, end, status):
    layout = RunLayout(tmp_path)
    callback = callback_of(layout)
    trials = [recorded_trial(layout, number) for number in (0, 1)]
    for epoch in (1, 2):
        for trial in trials:
            callback.on_trial_result(trial=trial, result={"reports": [report(epoch)]})
    for trial in trials:
        getattr(callback, end)(trial=trial)
    assert callback._open == {}
    for number in (0, 1):
        assert scalars(read(layout.trial(number).root), "loss/train") == [(1, 2.0), (2, 1.0)]
        assert hyperparameters(layout.trial(number).root)[0] == f"000{number}"
        assert ending(layout.trial(number).root) == status
    assert not list(layout.trials.glob("events*"))  # what a function searches is known trial by trial only


def test_a_trial_without_a_result_ends_quietly(tmp_path):
    callback = callback_of(RunLayout(tmp_path))
    callback.on_trial_error(trial=recorded_trial(RunLayout(tmp_path), 0))
    assert list(RunLayout(tmp_path).trial(0).root.glob("events*")) == []


SPACE = {
    "train.stages[*].head_lr": {"log": [0.01, 0.1]},
    "train.batch_size": {"int": [8, 64], "step": 8},
    "train.loss.kind": {"choice": ["cross_entropy", "ldam"]},
    "train.nesterov": {"choice": [True, False]},
    "train.clip_norm": {"choice": [None, 1.0]},
}


def test_the_table_of_hyperparameters_has_what_is_searched_and_the_best_score(tmp_path):
    write_columns(tmp_path, parse_space(SPACE).parameters, Metric.KAPPA)
    content = read(tmp_path).summary_metadata[hparams.EXPERIMENT_TAG].plugin_data.content
    experiment = hparams.parse_experiment_plugin_data(content)
    columns = {
        info.name: (api_pb2.DataType.Name(info.type), info.WhichOneof("domain")) for info in experiment.hparam_infos
    }
    assert columns == {
        "train.stages[*].head_lr": ("DATA_TYPE_FLOAT64", "domain_interval"),
        "train.batch_size": ("DATA_TYPE_FLOAT64", "domain_interval"),
        "train.loss.kind": ("DATA_TYPE_STRING", "domain_discrete"),
        "train.nesterov": ("DATA_TYPE_BOOL", "domain_discrete"),
        "train.clip_norm": ("DATA_TYPE_UNSET", None),
    }
    ((metric),) = experiment.metric_infos
    assert (metric.name.tag, metric.name.group, metric.display_name) == ("validation/best_score", "", "best kappa")


def test_a_search_writes_its_columns_when_it_starts(tmp_path):
    callback_of(RunLayout(tmp_path), parse_space(SPACE).parameters)
    assert hparams.EXPERIMENT_TAG in read(RunLayout(tmp_path).trials).summary_metadata
