import dataclasses
import json
import math

import pytest

from trainables.core.vocabulary import Flag
from trainables.run_folder.epoch_report import (
    CURVES,
    FIELDS,
    INHERITED,
    LOG_COLUMNS,
    NESTED,
    OF_THE_MACHINE,
    EpochReport,
    last_report,
    read_epochs,
)

REPORT = EpochReport(
    epoch=3,
    stage="top",
    stage_index=1,
    epoch_in_stage=1,
    open_from="features.7",
    head_lr=0.1,
    backbone_lr=0.01,
    head_frozen=False,
    reweighted=True,
    train_loss=1.5,
    metrics={"val_loss": 1.25, "accuracy": 0.5, "classes_predicted": 2.0},
    per_class={"recall": [0.5, 1.0]},
    confusion=[[1, 1], [0, 2]],
    flags=(Flag.COLLAPSE, Flag.GAP),
    score=0.75,
    best_score=0.8,
    best_epoch=2,
    best_corrected=0.8,
    drw_pending=False,
    compute=1_000_000,
    compute_share=0.5,
    train_s=2.0,
    val_s=1.0,
    cache_s=0.5,
    uncached=None,
    images_per_s=20.0,
    time="2026-01-02T03:04:05.678+00:00",
    stage_over=True,
    finished=False,
)


def test_a_report_becomes_one_line_with_metrics_beside_the_other_fields():
    line = REPORT.to_json()
    assert "\n" not in line
    read = json.loads(line)
    others = {field.name for field in dataclasses.fields(EpochReport)} - {"metrics"}
    assert set(read) == others | {"val_loss", "accuracy", "classes_predicted"}
    assert (read["epoch"], read["stage"], read["val_loss"], read["checkpoint"]) == (3, "top", 1.25, None)
    assert (read["per_class"], read["confusion"]) == ({"recall": [0.5, 1.0]}, [[1, 1], [0, 2]])
    assert (read["flags"], read["stopped_for"], read["reweighted"]) == (["collapse", "gap"], None, True)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_null(value):
    report = dataclasses.replace(
        REPORT, train_loss=value, metrics={"auc": value, "accuracy": 0.5}, per_class={"f1": [value, 0.5]}
    )
    read = json.loads(report.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (read["train_loss"], read["auc"], read["accuracy"]) == (None, None, 0.5)
    assert read["per_class"] == {"f1": [None, 0.5]}


def test_what_follows_from_the_fields():
    assert LOG_COLUMNS == ("epoch", "stage", "stage_index", "val_loss", "score", "checkpoint", "time")
    assert set(OF_THE_MACHINE) == {"train_s", "val_s", "cache_s", "uncached", "images_per_s", "time", "inherited"}
    assert INHERITED == {"train_s": 0.0, "val_s": 0.0, "cache_s": 0.0, "inherited": True}
    assert NESTED == ("per_class", "confusion", "opened")
    assert set(CURVES) == {
        "train_loss",
        "train_accuracy",
        "grad_norm",
        "score",
        "best_score",
        "head_lr",
        "backbone_lr",
        "stage_index",
        "reweighted",
        "images_per_s",
    }


def test_every_field_says_what_follows_from_it():
    assert list(FIELDS) == [field.name for field in dataclasses.fields(EpochReport)]


# --- epochs.jsonl ---------------------------------------------------------------------------------------------------


def line_of(epoch):
    return dataclasses.replace(REPORT, epoch=epoch).to_json()


@pytest.mark.parametrize(
    ("content", "epochs"),
    [
        pytest.param("", [], id="empty"),
        pytest.param(f"{line_of(1)}\n", [1], id="one"),
        pytest.param(f"{line_of(1)}\n{line_of(2)}\n", [1, 2], id="two"),
        pytest.param(f"{line_of(1)}\n{line_of(2)}", [1, 2], id="only the line's end is missing"),
        pytest.param(f"{line_of(1)}\n{line_of(2)[:60]}", [1], id="torn"),
        pytest.param(f"{line_of(1)}\n{line_of(2)[:1]}", [1], id="torn after its first byte"),
        pytest.param(line_of(1)[:-1], [], id="nothing but a torn line"),
    ],
)
def test_epochs_are_read_as_far_as_they_were_written(tmp_path, content, epochs):
    (tmp_path / "epochs.jsonl").write_text(content)
    reports = read_epochs(tmp_path / "epochs.jsonl")
    assert reports == [json.loads(line_of(epoch)) for epoch in epochs]


def test_no_file_is_no_epoch(tmp_path):
    assert read_epochs(tmp_path / "epochs.jsonl") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            f"{line_of(1)}\n{line_of(2)[:60]}\n{line_of(3)}\n", ":2: not a line of JSON", id="torn in the middle"
        ),
        pytest.param(f"\n{line_of(2)}\n", ":1: not a line of JSON", id="an empty line"),
        pytest.param(
            f'{line_of(1)}\n{{"loss": 1}}\n{line_of(2)}\n', ":2: the epoch report has no epoch, stage", id="other"
        ),
        pytest.param(f"[1]\n{line_of(2)}\n", ":1: the epoch report is not a JSON object", id="a list"),
    ],
)
def test_a_line_that_is_no_report_is_named(tmp_path, content, message):
    (tmp_path / "epochs.jsonl").write_text(content)
    with pytest.raises(ValueError, match=rf"epochs\.jsonl{message}"):
        read_epochs(tmp_path / "epochs.jsonl")


@pytest.mark.parametrize("length", [10, 20_000, 100_000], ids=["short", "longer than a block", "of several blocks"])
@pytest.mark.parametrize("end", ["", "\n", '\n{"epoch": 4', "\n[]\n\n"], ids=["cut", "whole", "torn", "no report"])
def test_the_newest_report_is_found_from_the_end(tmp_path, length, end):
    file = tmp_path / "epochs.jsonl"
    assert last_report(file) is None
    needed = {
        "stage": "head",
        "stage_index": 0,
        "score": 0.5,
        "best_score": 0.5,
        "best_epoch": 1,
        "flags": [],
        "train_s": 1.0,
    }
    lines = [json.dumps({"epoch": epoch, "long": "x" * length, **needed, "time": "now"}) for epoch in (1, 2, 3)]
    file.write_text("\n".join(lines) + end)
    assert last_report(file)["epoch"] == 3
    assert json.loads(lines[2]).items() <= last_report(file).items()


@pytest.mark.parametrize("field", [name for name in json.loads(line_of(1)) if name in FIELDS])
def test_a_record_may_lack_fields_that_came_later_but_none_that_readers_rely_on(tmp_path, field):
    file, whole = tmp_path / "epochs.jsonl", json.loads(line_of(1))
    others = {name: value for name, value in whole.items() if name != field}
    file.write_text(json.dumps(others) + "\n" + json.dumps(whole) + "\n")
    needed = {"epoch", "stage", "stage_index", "score", "best_score", "best_epoch", "flags", "train_s", "time"}
    if field in needed:
        with pytest.raises(ValueError, match=rf"epochs\.jsonl:1: the epoch report has no {field}"):
            read_epochs(file)
        return
    first, second = read_epochs(file)
    assert second == whole
    assert first.keys() == whole.keys()
    assert {name: first[name] for name in others} == others
    file.write_text(json.dumps(others) + "\n")
    assert last_report(file) == first


def test_what_a_record_lacks_is_its_own(tmp_path):
    file = tmp_path / "epochs.jsonl"
    lacking = json.loads(line_of(1))
    del lacking["confusion"]
    file.write_text(2 * (json.dumps(lacking) + "\n"))
    first, second = read_epochs(file)
    first["confusion"].append([1])
    assert second["confusion"] == []
