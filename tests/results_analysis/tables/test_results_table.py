"""Sorting, filtering and writing the table of trials."""

import csv
import io
import json

import pandas as pd
import pytest

from results_analysis.runs.run import RunError, load
from results_analysis.tables.file_formats import save, to_csv, to_json, to_markdown, to_parquet
from results_analysis.tables.results_table import best_of, results_table
from tests.results_analysis.runs.test_run import write_run
from trainables.core.vocabulary import Metric

LR = "train.stages[1].head_lr"
TRIALS = [
    {"scores": [0.4], "params": {LR: 0.01, "train.loss.kind": "ldam", "train.mixed": 1}},
    {"scores": [], "status": "failed", "reason": "out of memory", "params": {LR: 0.001, "train.loss.kind": "focal"}},
    {"scores": [0.2, 0.8], "params": {LR: 1 / 3, "train.mixed": "all"}},
    {"scores": [0.6], "status": "pruned", "params": {LR: 1e-5, "train.loss.kind": "ldam"}},
]


@pytest.fixture
def run(tmp_path):
    return load(write_run(tmp_path / "r", TRIALS))


def numbers(table):
    return table["trial"].tolist()


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("score", [2, 3, 0, 1]),
        ("-score", [0, 3, 2, 1]),
        ("accuracy", [2, 3, 0, 1]),
        ("val_loss", [2, 3, 0, 1]),
        ("-val_loss", [0, 3, 2, 1]),
        ("trial", [0, 1, 2, 3]),
        ("-trial", [3, 2, 1, 0]),
        ("status", [1, 0, 2, 3]),
        (LR, [3, 1, 0, 2]),
        (f"-{LR}", [2, 0, 1, 3]),
        ("train.loss.kind", [1, 0, 3, 2]),
        ("-train.loss.kind", [0, 3, 1, 2]),
        ("best_epoch", [0, 3, 2, 1]),
    ],
)
def test_trials_are_sorted_best_first_and_what_is_missing_last(run, sort, order):
    assert numbers(results_table(run, sort=sort)) == order


def test_the_lowest_loss_is_best(tmp_path):
    run = load(write_run(tmp_path / "r", [{"scores": [s]} for s in (0.5, 0.2, 0.9)], metric=Metric.VAL_LOSS))
    assert numbers(results_table(run)) == [1, 0, 2]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("status == 'finished'", [2, 0]),
        ("status == 'finished' and score > 0.5", [2]),
        (f"`{LR}` < 0.005", [3, 1]),
        ("`train.loss.kind` == 'ldam'", [3, 0]),
        ("`train.loss.kind` in ['focal']", [1]),
        ("best_epoch > 1", [2]),
        ("flags == ''", [2, 3, 0]),
        ("reason.str.contains('memory')", [1]),
        ("score < 0", []),
        ("score.isna()", [1]),
    ],
)
def test_where_keeps_the_trials_it_is_true_for(run, where, kept):
    assert numbers(results_table(run, where=where)) == kept


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("scor > 1", r"where: 'scor > 1': name 'scor' is not defined; columns: trial, status, score, .*`train\.mixed`"),
        ("score >", r"where: 'score >': .*; columns: trial"),
        ("", r"where: '': .*; columns: trial"),
        ("score", r"where: 'score' is not true or false for each trial; columns: trial"),
        ("score = 1", r"where: 'score = 1' is not true or false for each trial"),
        ("1 == 1", r"where: '1 == 1' is not true or false for each trial"),
        ("score.max() > 0", r"where: .* is not true or false for each trial"),
        ("@table.score > 0", r"where: .*local variable 'table' is not defined; columns: trial"),
        ("@pd.read_csv('x')", r"where: .*; columns: trial"),
        ("status > 3", r"where: 'status > 3': .*; columns: trial"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_columns_there_are(run, where, message):
    with pytest.raises(RunError, match=message):
        results_table(run, where=where)


@pytest.mark.parametrize(
    ("sort", "message"),
    [
        ("scroe", r"sort: no column 'scroe'; did you mean 'score'\?"),
        ("-qqq", r"sort: no column 'qqq'; valid: trial, status, score"),
        ("head_lr", rf"sort: no column 'head_lr'; (did you mean '{LR}'\?|valid:)".replace("[1]", r"\[1\]")),
        ("train.mixed", r"sort: 'train\.mixed' holds values of different kinds, which have no order"),
    ],
)
def test_what_cannot_be_sorted_by_is_refused(run, sort, message):
    with pytest.raises(RunError, match=message):
        results_table(run, sort=sort)


@pytest.mark.parametrize(("top", "kept"), [(None, [2, 3, 0, 1]), (1, [2]), (3, [2, 3, 0]), (9, [2, 3, 0, 1])])
def test_top_keeps_the_first_rows_after_sorting(run, top, kept):
    assert numbers(results_table(run, top=top)) == kept


@pytest.mark.parametrize("top", [0, -1])
def test_top_is_at_least_one(run, top):
    with pytest.raises(RunError, match=f"top: {top}: must be at least 1"):
        results_table(run, top=top)


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([("finished", 0.4), ("finished", 0.8)], 1),
        ([("finished", 0.4), ("pruned", 0.8), ("running", 0.9)], 0),
        ([("pruned", 0.4), ("running", 0.8), ("failed", 0.9)], 1),
        ([("finished", None), ("pruned", 0.4)], 1),
        ([("finished", 0.4), ("finished", 0.4)], 0),
        ([("failed", 0.4)], None),
        ([("running", None)], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("metric", [Metric.KAPPA, Metric.VAL_LOSS])
def test_the_best_trial_is_a_finished_one_where_there_is_one(trials, best, metric):
    sign = 1 if metric.mode == "max" else -1
    table = pd.DataFrame(
        [{"trial": n, "status": status, "score": s and sign * s} for n, (status, s) in enumerate(trials)],
        columns=["trial", "status", "score"],
    )
    assert best_of(table, metric) == best
    assert best_of(table.iloc[::-1], metric) == best


# --- files ----------------------------------------------------------------------------------------------------------


def test_json_holds_every_value_exactly_and_null_where_there_is_none(run):
    rows = json.loads(to_json(results_table(run, sort="trial")))
    assert [row[LR] for row in rows] == [0.01, 0.001, 1 / 3, 1e-5]
    assert [row["best_epoch"] for row in rows] == [1, None, 2, 1]
    assert [row["score"] for row in rows] == [0.4, None, 0.8, 0.6]
    assert [row["flags"] for row in rows] == ["", None, "", ""]
    assert [row["train.mixed"] for row in rows] == [1, None, "all", None]
    assert rows[1]["reason"] == "out of memory"


def test_json_keeps_lists(tmp_path):
    run = load(write_run(tmp_path / "r", [{"params": {"train.x": [1, 2]}}]))
    assert json.loads(to_json(run.trials()))[0]["train.x"] == [1, 2]


def test_csv_holds_every_number_exactly_and_nothing_where_there_is_none(run):
    rows = list(csv.DictReader(to_csv(results_table(run, sort="trial")).splitlines()))
    assert [float(row[LR]) for row in rows] == [0.01, 0.001, 1 / 3, 1e-5]
    assert [row["score"] for row in rows] == ["0.4", "", "0.8", "0.6"]
    assert [row["best_epoch"] for row in rows] == ["1", "", "2", "1"]
    assert list(rows[0]) == list(run.trials().columns)


@pytest.mark.parametrize(("write", "expected"), [(to_csv, "trial,status,score"), (to_json, "[]")])
def test_a_run_without_trials_is_an_empty_table(tmp_path, write, expected):
    assert write(results_table(load(write_run(tmp_path / "r")))).startswith(expected)


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        (["trial", "score"], ["trial", "score"]),
        (["score", "trial", "score"], ["score", "trial"]),
        (["train.*"], [LR, "train.loss.kind", "train.mixed"]),
        (["train.stages[1].*"], [LR]),
        (["best_*", "*_s"], ["best_epoch", "train_s", "val_s", "cache_s"]),
        (["?core"], ["score"]),
    ],
)
def test_columns_are_chosen_by_name_or_pattern_in_the_order_asked_for(run, columns, kept):
    assert list(results_table(run, columns=columns).columns) == kept


def test_a_column_may_be_sorted_by_and_not_shown(run):
    assert results_table(run, sort="trial", columns=["status"])["status"].tolist()[1] == "failed"


def test_all_columns_that_are_not_there_are_told_with_the_nearest(run):
    with pytest.raises(RunError) as refused:
        results_table(run, columns=["scroe", "trial", "tain_s", "loss.*"])
    first, second, third = str(refused.value).splitlines()
    assert first == "columns: no column 'scroe'; did you mean 'score'?"
    assert second == "columns: no column 'tain_s'; did you mean 'train_s'?"
    assert third.startswith("columns: no column 'loss.*'; ")


def test_markdown_has_a_rule_numbers_to_the_right_and_escaped_bars(tmp_path):
    trials = [{"scores": [0.5], "params": {"train.k": "a|b"}}, {"status": "failed", "reason": "one\ntwo"}]
    table = results_table(load(write_run(tmp_path / "r", trials)), columns=["trial", "score", "train.k", "reason"])
    assert to_markdown(table).splitlines() == [
        "| trial | score | train.k | reason |",
        "| ---: | ---: | --- | --- |",
        r"| 0 | 0.5 | a\|b |  |",
        "| 1 |  |  | one two |",
    ]


def test_parquet_keeps_types_and_writes_what_has_no_one_type_as_json(run):
    table = results_table(run, sort="trial")
    read = pd.read_parquet(io.BytesIO(to_parquet(table)))
    assert read["train.mixed"].tolist()[::2] == ["1", '"all"']
    assert read["train.mixed"].isna().tolist() == [False, True, False, True]
    same = [name for name in table.columns if name != "train.mixed"]
    pd.testing.assert_frame_equal(read[same], table[same], check_dtype=False)
    assert [str(read[name].dtype) for name in ("trial", "best_epoch", "score")] == ["int64", "Int64", "float64"]


@pytest.mark.parametrize(
    ("name", "kind", "begins"),
    [
        ("t.csv", None, b"trial,status"),
        ("t.json", None, b"[\n"),
        ("t.MD", None, b"| trial"),
        ("t.parquet", None, b"PAR1"),
        ("t.txt", "csv", b"trial,status"),
        ("t.csv", "json", b"[\n"),
        ("new/folder/t.csv", None, b"trial,status"),
    ],
)
def test_a_table_is_saved_as_its_name_or_the_asked_format_says(run, tmp_path, name, kind, begins):
    for _ in range(2):  # the second replaces the first
        save(run.trials(), tmp_path / "out" / name, kind)
    file = tmp_path / "out" / name
    assert file.read_bytes().startswith(begins)
    assert [other.name for other in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("t.xlsx", None, r"t\.xlsx: unknown file name ending; use one of \.csv, \.json, \.md, \.parquet$"),
        ("t.csv", "jsn", r"^format: 'jsn'; did you mean 'json'\?$"),
        ("folder.csv", None, r"folder\.csv: cannot be written: Is a directory$"),
        ("file/t.csv", None, r"file/t\.csv: cannot be written: (File exists|Not a directory)$"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_leaves_nothing(run, tmp_path, name, kind, message):
    place = tmp_path / "out"
    (place / "folder.csv").mkdir(parents=True)
    (place / "file").touch()
    with pytest.raises(RunError, match=message):
        save(run.trials(), place / name, kind)
    assert {each.name for each in place.iterdir()} == {"folder.csv", "file"}


@pytest.mark.parametrize(
    ("seeds", "kind"),
    [
        ([1, 2], "Int64"),
        ([1, 2**63], "UInt64"),
        ([1, 2**70], "object"),
        ([-(2**63), -1], "Int64"),
        ([0.5, 2**63], "object"),
    ],
)
def test_integers_of_any_length_stay_exact(tmp_path, seeds, kind):
    run = load(write_run(tmp_path / "r", [{"params": {"train.seed": seed}, "scores": [0.5]} for seed in seeds]))
    column = results_table(run, sort="trial")["train.seed"]
    assert (str(column.dtype), column.tolist()) == (kind, seeds)
    assert json.loads(to_json(results_table(run, sort="train.seed")))[-1]["train.seed"] == max(seeds)


def test_a_null_is_told_from_a_value_that_a_trial_lacks(tmp_path):
    run = load(
        write_run(tmp_path / "r", [{"params": {"train.clip_norm": None}}, {}, {"params": {"train.clip_norm": 1.0}}])
    )
    assert [row["train.clip_norm"] for row in json.loads(to_json(results_table(run, sort="trial")))] == [
        "null",
        None,
        1.0,
    ]
    assert results_table(run, where="`train.clip_norm` == 'null'")["trial"].tolist() == [0]
