"""A run's folder as tables: what is read, left out and refused. Other tests build their runs with `write_run`."""

import json
import math
import subprocess
import sys

import pytest
import yaml

from results_analysis.runs.columns import columns_of
from results_analysis.runs.run import RunError, find_run, load, run_names
from results_analysis.tables.results_table import results_table
from trainables.core.vocabulary import Flag, Metric
from trainables.run_folder.epoch_report import EpochReport
from trainables.run_folder.layout import RunLayout

RECIPE = {
    "data": {"source": "digits"},
    "model": {"backbone": "mobilenet_v3_small"},
    "train": {"metric": "kappa", "seed": 0},
}


def report(epoch, score, *, best=None, metric=Metric.KAPPA, **changes):
    """An epoch that tells little but its score; `best` is (epoch, score) of the best so far, this one if not given."""
    best_epoch, best_score = best or (epoch, score)
    fields = {
        "epoch": epoch,
        "stage": "head" if epoch <= 2 else "top",
        "stage_index": 0 if epoch <= 2 else 1,
        "epoch_in_stage": epoch if epoch <= 2 else epoch - 2,
        "open_from": "head",
        "head_lr": 1e-3,
        "backbone_lr": 0.0,
        "head_frozen": False,
        "reweighted": False,
        "train_loss": 1.5,
        "metrics": {"val_loss": 2.0 - score, "accuracy": score / 2, metric.value: score, "classes_predicted": 3.0},
        "per_class": {"recall": [0.5, 1.0]},
        "confusion": [[1, 1], [0, 2]],
        "flags": (),
        "score": score,
        "best_score": best_score,
        "best_epoch": best_epoch,
        "train_s": 2.0,
        "val_s": 1.0,
        "cache_s": 0.0,
        "uncached": None,
        "best_corrected": best,
        "drw_pending": False,
        "compute": 1000 * epoch,
        "compute_share": epoch / 10,
        "images_per_s": 100.0,
        "time": "2025-01-01T00:00:00+00:00",
        "stage_over": False,
        "finished": False,
    }
    return EpochReport(**{**fields, **changes})


def reports_of(scores, metric=Metric.KAPPA, **changes):
    reports, best = [], None
    for epoch, score in enumerate(scores, start=1):
        if best is None or metric.better(score, than=best[1]):
            best = (epoch, score)
        reports.append(report(epoch, score, best=best, metric=metric, **changes))
    return reports


def write_run(root, trials=(), *, metric=Metric.KAPPA):
    """A search's folder; `trials` are keywords of `write_trial`, numbered from 0."""
    layout = RunLayout(root)
    layout.root.mkdir(parents=True)
    config = {**RECIPE, "train": {**RECIPE["train"], "metric": metric.value}, "space": {}, "search": {"trials": 4}}
    layout.config.write_text(yaml.safe_dump(config, sort_keys=False))
    for number, trial in enumerate(trials):
        write_trial(layout, number, metric=metric, **trial)
    return layout.root


def write_trial(
    layout,
    number,
    scores=(),
    *,
    metric=Metric.KAPPA,
    status="finished",
    params=None,
    epoch=None,
    environment=None,
    **record,
):
    trial = layout.trial(number)
    trial.root.mkdir(parents=True)
    trial.recipe.write_text(yaml.safe_dump({**RECIPE, "train": {**RECIPE["train"], "seed": number}}))
    known = {"schema": 1, "number": number, "params": params or {}, "status": status, "reason": None}
    trial.trial.write_text(json.dumps({**known, "started": "2025-01-01T00:00:00+00:00", "ended": None, **record}))
    if environment:
        trial.environment.write_text(json.dumps(environment))
    if scores:
        trial.epochs.write_text("".join(f"{r.to_json()}\n" for r in reports_of(scores, metric, **(epoch or {}))))


# --- trials ---------------------------------------------------------------------------------------------------------


def test_a_trials_row_tells_its_best_epoch_and_how_far_it_came(tmp_path):
    run = load(write_run(tmp_path / "r", [{"scores": [0.2, 0.6, 0.4], "params": {"train.loss.gamma": 1.5}}]))
    row = run.trials().iloc[0]
    expected = {
        "trial": 0,
        "status": "finished",
        "score": 0.6,
        "best_epoch": 2,
        "epochs": 3,
        "stage": "top",
        "stage_index": 1,
        "kappa": 0.6,
        "val_loss": 1.4,
        "accuracy": 0.3,
        "classes_predicted": 3.0,
        "flags": "",
        "flags_at_best": "",
        "train_s": 6.0,
        "train.loss.gamma": 1.5,
    }
    assert {name: row[name] for name in expected} == expected


def test_the_best_epoch_of_a_loss_is_the_lowest(tmp_path):
    run = load(write_run(tmp_path / "r", [{"scores": [0.9, 0.3, 0.5]}], metric=Metric.VAL_LOSS))
    assert run.metric is Metric.VAL_LOSS
    assert run.trials().loc[0, ["score", "best_epoch"]].tolist() == [0.3, 2]


@pytest.mark.parametrize(
    ("flags", "ever", "at_best", "stopped_for"),
    [
        ([[], [], []], "", "", None),
        ([["collapse"], [], []], "collapse", "collapse", None),
        ([[], ["gap", "spike"], ["gap"]], "spike, gap", "", None),
        ([["stuck_auc"], ["stuck_auc"], ["nan", "stuck_auc"]], "nan, stuck_auc", "stuck_auc", "nan"),
    ],
)
def test_flags_are_told_of_the_whole_trial_and_of_its_best_epoch(tmp_path, flags, ever, at_best, stopped_for):
    root = write_run(tmp_path / "r", [{"scores": [0.5]}])
    ends = [None, None, stopped_for and Flag(stopped_for)]
    lines = [
        report(n, 0.5 / n, best=(1, 0.5), flags=tuple(map(Flag, raised)), stopped_for=end)
        for n, (raised, end) in enumerate(zip(flags, ends, strict=True), start=1)
    ]
    RunLayout(root).trial(0).epochs.write_text("".join(f"{r.to_json()}\n" for r in lines))
    row = load(root).trials().iloc[0]
    assert (row["flags"], row["flags_at_best"]) == (ever, at_best)
    assert row["stopped_for"] == stopped_for if stopped_for else row.isna()["stopped_for"]


def test_flags_can_be_asked_for(tmp_path):
    trials = [{"scores": [0.5], "epoch": {"flags": (flag,)} if flag else None} for flag in (Flag.GAP, None, Flag.NAN)]
    run = load(write_run(tmp_path / "r", trials))
    for where, kept in [("flags == ''", [1]), ("flags.str.contains('gap')", [0]), ("flags != ''", [0, 2])]:
        assert results_table(run, where=where)["trial"].tolist() == kept


def test_a_trial_without_epochs_has_a_row_without_a_score(tmp_path):
    row = load(write_run(tmp_path / "r", [{"status": "running"}])).trials().iloc[0]
    assert (row["status"], row["epochs"], row["train_s"]) == ("running", 0, 0.0)
    assert (
        row[["score", "best_epoch", "stage", "kappa", "flags", "flags_at_best", "stopped_for", "reason"]].isna().all()
    )


def test_a_score_that_was_not_finite_is_missing(tmp_path):
    root = write_run(tmp_path / "r", [{}])
    RunLayout(root).trial(0).epochs.write_text(report(1, math.nan).to_json() + "\n")
    row = load(root).trials().iloc[0]
    assert math.isnan(row["score"])
    assert row["epochs"] == 1


@pytest.mark.parametrize("trials", [[], [{}], [{"scores": [0.5]}, {"status": "failed"}]])
def test_the_columns_and_their_types_do_not_depend_on_what_the_trials_hold(tmp_path, trials):
    table = load(write_run(tmp_path / "r", trials)).trials()
    assert {name: str(kind) for name, kind in table.dtypes.items()} == columns_of("classification")
    assert len(table) == len(trials)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([5, None], "Int64", [5, None]),
        ([0.5, None], "float64", [0.5, None]),
        ([1, 0.5], "float64", [1.0, 0.5]),
        ([True, None], "boolean", [True, None]),
        (["ldam", None], "string", ["ldam", None]),
        ([1, "all"], "object", [1, "all"]),
        ([[1, 2], None], "object", [[1, 2], None]),
    ],
)
def test_searched_values_keep_their_type_where_a_trial_has_none(tmp_path, values, kind, expected):
    trials = [{"params": {} if value is None else {"train.x": value}} for value in values]
    column = load(write_run(tmp_path / "r", trials)).trials()["train.x"]
    assert str(column.dtype) == kind
    assert [None if missing else value for value, missing in zip(column, column.isna(), strict=True)] == expected


def test_searched_values_stand_in_the_order_in_which_they_were_drawn(tmp_path):
    trials = [{"params": {"train.b": 1, "train.a": 2}}, {"params": {"train.b": 1, "train.c": 3, "train.a": 2}}]
    table = load(write_run(tmp_path / "r", trials)).trials()
    assert list(table.columns)[len(columns_of("classification")) :] == ["train.b", "train.a", "train.c"]


def test_trials_come_by_number_beyond_four_digits(tmp_path):
    root = write_run(tmp_path / "r")
    for number in (10_000, 3, 9_999):
        write_trial(RunLayout(root), number)
    assert load(root).numbers == [3, 9_999, 10_000]


def test_a_trial_folder_without_a_record_and_other_files_are_no_trials(tmp_path):
    root = write_run(tmp_path / "r", [{"scores": [0.5]}])
    (root / "trials" / "0001").mkdir()
    (root / "trials" / "notes").mkdir()
    run = load(root)
    assert run.numbers == [0]
    assert len(run.trials()) == 1


def test_a_run_that_goes_on_is_read_anew(tmp_path):
    root = write_run(tmp_path / "r", [{"scores": [0.5]}])
    run = load(root)
    write_trial(run.layout, 1, scores=[0.9])
    assert run.trials()["score"].tolist() == [0.5, 0.9]


def test_no_checkpoint_is_named_that_is_gone(tmp_path):
    run = load(write_run(tmp_path / "r", [{"scores": [0.5, 0.6]}]))
    folder = run.folder(0)
    lines = [json.loads(line) for line in folder.epochs.read_text().splitlines()]
    for line in lines:
        line["checkpoint"] = f"000{line['epoch']}_head_kappa=0.5.pt"
    folder.epochs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder.checkpoints.mkdir()
    (folder.checkpoints / lines[1]["checkpoint"]).touch()
    for frame in (run.epochs(), run.epochs(0)):
        assert frame["checkpoint"].isna().tolist() == [True, False]


def test_epochs_are_the_curves_of_a_trial(tmp_path):
    epochs = load(write_run(tmp_path / "r", [{"scores": [0.2, 0.6]}])).epochs(0)
    assert epochs["epoch"].tolist() == [1, 2]
    assert epochs["kappa"].tolist() == [0.2, 0.6]
    assert not {"per_class", "confusion"} & set(epochs.columns)


def test_reports_keep_what_belongs_to_each_class(tmp_path):
    reports = load(write_run(tmp_path / "r", [{"scores": [0.2]}])).reports(0)
    assert reports[0]["confusion"] == [[1, 1], [0, 2]]


def test_a_trial_offers_its_recipe_and_record(tmp_path):
    run = load(write_run(tmp_path / "r", [{"params": {"a.b": 2}, "environment": {"torch": "2.9"}}, {}]))
    assert run.recipe(0) == RECIPE
    assert run.trial(0).params == {"a.b": 2}
    assert [run.environment(number) for number in (0, 1)] == [{"torch": "2.9"}, {}]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([], "run 'r' has no trial 9; it has none yet"), ([0, 1, 2, 5], "run 'r' has no trial 9; its trials are 0-2, 5")],
)
def test_an_unknown_trial_is_refused_with_those_there_are(tmp_path, numbers, message):
    root = write_run(tmp_path / "r")
    for number in numbers:
        write_trial(RunLayout(root), number)
    with pytest.raises(RunError, match=f"^{message}$"):
        load(root).reports(9)


# --- epochs.jsonl ---------------------------------------------------------------------------------------------------

GOOD = [r.to_json().encode() for r in reports_of([0.1, 0.2, 0.3])]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([GOOD[0], b'{"epoch": 2, "st', GOOD[2]], r"epochs\.jsonl:2: not a line of JSON"),
        ([b"", GOOD[0]], r"epochs\.jsonl:1: not a line of JSON"),
        ([GOOD[0], b"7"], r"epochs\.jsonl:2: the epoch report is not a JSON object"),
        ([b'{"epoch": 1, "stage": "head", "stage_index": 0, "score": 0, "flags": [], "time": ""}'],
         r"epochs\.jsonl:1: the epoch report has no best_score, best_epoch, train_s"),
    ],
)  # fmt: skip
def test_a_bad_line_is_refused_by_file_and_number(tmp_path, lines, message):
    root = write_run(tmp_path / "r", [{}])
    RunLayout(root).trial(0).epochs.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(RunError, match=message):
        load(root).reports(0)


# --- folders that are no runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", r"0000/trial\.json: not valid JSON"),
        ("[]", r"0000/trial\.json: not a JSON object"),
        ('{"schema": 2, "ids": []}', r"0000/trial\.json: schema 2 is newer than 1, the newest known here; update thaw"),
        ('{"schema": 1, "number": 0, "params": {}}', r"0000/trial\.json: status: is required and missing"),
        ('{"schema": 1, "number": 0, "params": {}, "status": "done", "started": ""}',
         r"0000/trial\.json: status: 'done': .*'running', 'finished', 'pruned', 'failed' or 'infeasible'"),
        ('{"schema": 1, "number": 7, "params": {}, "status": "finished", "started": ""}',
         r"0000/trial\.json: number: 7 in the folder of trial 0"),
    ],
)  # fmt: skip
def test_a_bad_record_is_refused_by_file(tmp_path, record, message):
    root = write_run(tmp_path / "r", [{}])
    RunLayout(root).trial(0).trial.write_text(record)
    with pytest.raises(RunError, match=message):
        load(root).trials()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("a: [", r"search\.yaml: not valid YAML: while parsing"),
        ("- a", r"search\.yaml: not a mapping of keys to values"),
        ("data: {}", r"search\.yaml: train\.metric is required and missing"),
        ("train: 3", r"search\.yaml: train\.metric is required and missing"),
        ("train: {metric: kapa}", r"search\.yaml: train\.metric: unknown metric 'kapa'; did you mean 'kappa'\?"),
        ("train: {metric: [1]}", r"search\.yaml: train\.metric: unknown metric \[1\]; valid: .*kappa.*val_loss"),
        ("!!python/object/apply:os.getcwd []", r"search\.yaml: not valid YAML: the tag '!!python"),
    ],
)
def test_a_bad_config_is_refused_by_file(tmp_path, config, message):
    root = write_run(tmp_path / "r")
    RunLayout(root).config.write_text(config)
    with pytest.raises(RunError, match=message):
        load(root)


def test_a_missing_recipe_is_refused_by_file(tmp_path):
    root = write_run(tmp_path / "r", [{}])
    RunLayout(root).trial(0).recipe.unlink()
    with pytest.raises(RunError, match=r"0000/recipe\.yaml is missing"):
        load(root).recipe(0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", r"^no run 'digit' in '.*runs'; did you mean 'digits'\?$"),
        ("qqq", r"^no run 'qqq' in '.*runs'; valid: digits, flowers$"),
        ("empty", r"^'.*runs/empty' is not a run: it holds no search\.yaml$"),
        ("single", r"^'.*runs/single' is a single training run, not a search; `thaw report` shows it$"),
        ("nowhere/qqq", r"^no run 'qqq' in '.*nowhere'; there are no runs$"),
    ],
)
def test_what_is_no_run_is_refused_with_those_there_are(tmp_path, name, message):
    runs = tmp_path / "runs"
    for existing in ("flowers", "digits"):
        write_run(runs / existing)
    (runs / "empty").mkdir()
    (runs / "single").mkdir()
    (runs / "single" / "recipe.yaml").touch()
    with pytest.raises(RunError, match=message):
        load(runs / name)


def test_a_run_is_called_by_its_folder_however_it_was_reached(tmp_path, monkeypatch):
    monkeypatch.chdir(write_run(tmp_path / "digits"))
    assert load(".").name == "digits"


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("digits", "runs/digits"),
        ("runs/digits", "runs/digits"),
        ("elsewhere/digits", "elsewhere/digits"),
        ("here", "here"),
        ("../digits", "../digits"),
    ],
)
def test_a_run_is_found_by_its_name_or_path(tmp_path, monkeypatch, asked, found):
    work = tmp_path / "work"
    for place in ("runs/digits", "elsewhere/digits", "here", "../digits"):
        write_run(work / place)
    monkeypatch.chdir(work)
    assert find_run(asked, "runs").resolve() == (work / found).resolve()


def test_a_name_below_runs_goes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    for place in ("runs/digits", "digits"):
        write_run(tmp_path / place)
    monkeypatch.chdir(tmp_path)
    assert find_run("digits").resolve() == tmp_path / "runs" / "digits"


@pytest.mark.parametrize("asked", ["..", "../secret", "digits/../../secret", ".", ""])
def test_what_has_a_separator_or_dots_is_not_looked_up_below_runs(tmp_path, monkeypatch, asked):
    write_run(tmp_path / "runs" / "digits")
    write_run(tmp_path / "secret")  # reachable only if the name were joined to runs/
    work = tmp_path / "runs" / "digits" / "trials"
    work.mkdir()
    monkeypatch.chdir(work)
    if asked == "..":
        assert find_run(asked, tmp_path / "runs").resolve() == tmp_path / "runs" / "digits"  # the path, and a run
    else:
        with pytest.raises(RunError, match=r"no run|is not a run"):
            find_run(asked, tmp_path / "runs")


def test_an_unknown_name_is_refused_with_those_there_are(tmp_path):
    write_run(tmp_path / "runs" / "digits")
    with pytest.raises(RunError, match=r"no run 'digts' in '.*runs'; did you mean 'digits'\?"):
        find_run("digts", tmp_path / "runs")


def test_only_folders_with_a_config_are_runs(tmp_path):
    for name in ("b", "a"):
        write_run(tmp_path / name)
    (tmp_path / "c").mkdir()
    (tmp_path / "d").touch()
    assert run_names(tmp_path) == ["a", "b"]
    assert run_names(tmp_path / "missing") == []


# --- the package ----------------------------------------------------------------------------------------------------


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_every_offered_name_is_there_and_no_other():
    code = """
import results_analysis
assert set(results_analysis.__all__) == set(results_analysis._OWNERS)
print(*(getattr(results_analysis, name).__name__ == name for name in results_analysis.__all__))
try:
    results_analysis.nothing
except AttributeError as error:
    print(error)
"""
    found, refused = in_a_new_process(code).splitlines()
    assert set(found.split()) == {"True"}
    assert refused == "module 'results_analysis' has no attribute 'nothing'"


@pytest.mark.parametrize(
    ("statement", "not_imported"),
    [
        ("import results_analysis", {"pandas", "yaml", "pydantic", "rich", "torch", "ray", "optuna"}),
        ("from results_analysis import *", {"pandas", "rich", "torch", "ray", "optuna", "search", "spaces"}),
    ],
)
def test_importing_is_cheap(statement, not_imported):
    loaded = in_a_new_process(f"import sys\n{statement}\nprint(*sys.modules)").split()
    assert not not_imported & set(loaded)
