"""`thaw results`: what is shown, written and refused, also of damaged runs."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from results_analysis.runs.run import load
from results_analysis.tables.results_table import results_table
from search.cli import main
from tests.results_analysis.runs.test_run import report, reports_of, write_run, write_trial
from tests.support.project import PROJECT
from trainables.core.vocabulary import Metric
from trainables.run_folder.layout import RunLayout

TRIALS = [
    {"scores": [0.2, 0.6], "params": {"train.x": 1}},
    {"scores": [0.4], "status": "pruned"},
    {"scores": [0.3], "status": "pruned"},
    {"status": "failed", "reason": "ValueError: bad"},
]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return write_run(tmp_path / "runs" / "digits", TRIALS)


@pytest.fixture
def thaw(monkeypatch, capsys):
    """`thaw(*words, code=0)`: what `thaw results` says, run in this process; the runs stay as they are."""

    def run(*words, code=0):
        before = {file: file.stat().st_mtime_ns for file in Path("runs").rglob("*")}
        monkeypatch.setattr(sys, "argv", ["thaw", "results", *map(str, words)])
        with pytest.raises(SystemExit, match=f"^{code}$"):
            main()
        assert {file: file.stat().st_mtime_ns for file in Path("runs").rglob("*")} == before
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return err if code else out

    return run


# --- shown ----------------------------------------------------------------------------------------------------------


def test_the_table_tells_what_was_pruned_and_what_failed(root, thaw):
    lines = [line.rstrip() for line in thaw("digits").splitlines()]
    assert lines[-2:] == ["pruned: 2 at epoch 1", "trial 3 failed: ValueError: bad"]


@pytest.mark.parametrize(
    ("words", "rows", "more"),
    [((), 50, "… 10 more, --top 0 for all"), (("--top", 7), 7, "… 53 more, --top 0 for all"), (("--top", 0), 60, None)],
)
def test_a_long_table_is_cut_and_what_is_to_be_known_of_the_rest_is_told(root, thaw, words, rows, more):
    write_run(Path("runs/long"), [*[{"scores": [n / 100]} for n in range(59)], TRIALS[3]])
    said = thaw("long", *words)
    assert sum(line.split()[1:2] == ["finished"] or "★" in line for line in said.splitlines()) == min(rows, 59)
    assert [line.rstrip() for line in said.splitlines() if line.startswith("…")] == ([more] if more else [])
    assert "trial 59 failed: ValueError: bad" in said


def test_asked_columns_alone_are_shown_with_long_texts(root, thaw):
    said = thaw("digits", "--columns", "trial,reason", "--sort", "trial")
    assert said.splitlines()[2].split() == ["trial", "reason"]
    assert "3  ValueError: bad" in said


def test_several_runs_stand_in_one_table(root, thaw):
    write_run(Path("runs/other"), [{"scores": [0.9]}])
    rows = json.loads(thaw("digits", "other", "--format", "json"))
    assert [(row["run"], row["trial"]) for row in rows][:2] == [("other", 0), ("digits", 0)]


def test_runs_that_score_differently_are_refused_by_score_alone(root, thaw):
    write_run(Path("runs/other"), [{"scores": [0.9]}], metric=Metric.VAL_LOSS)
    assert "score means kappa in 'digits' and val_loss in 'other'" in thaw("digits", "other", "--sort", "score", code=2)
    assert "each run's own metric" in thaw("digits", "other")


def test_the_front_alone_is_shown(root, thaw):
    assert [row["trial"] for row in json.loads(thaw("digits", "--pareto", "--format", "json"))] == [0]


# --- written --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.md", "t.parquet"])
def test_a_files_name_says_its_format(root, thaw, name):
    assert thaw("digits", "-o", name) == ""
    content = Path(name).read_bytes()
    readers = {"t.csv": pd.read_csv, "t.json": pd.read_json, "t.parquet": pd.read_parquet}
    trials = readers[name](name)["trial"].tolist() if name in readers else None
    assert trials in ([0, 1, 2, 3], None)
    assert content.count(b"\n| ") in (0, 5)


def test_a_file_of_another_name_is_the_table_as_shown(root, thaw):
    thaw("digits", "-o", "table.txt")
    shown = [line.rstrip() for line in thaw("digits").splitlines()]
    assert [line.rstrip() for line in Path("table.txt").read_text().splitlines()] == shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "parquet"), "--format parquet is binary: name a file with -o"),
        (("--columns", "trail"), "no column 'trail'; did you mean 'trial'?"),
        (("--columns", "trial,stats", "--format", "csv"), "no column 'stats'; did you mean 'status'?"),
        (("--sort", "scroe"), "no column 'scroe'; did you mean 'score'?"),
        (("--where", "scor > 1"), "name 'scor' is not defined; columns: trial, status, score"),
        (("-o", "nowhere/../runs/digits/search.yaml/t.csv"), "cannot be written: "),
        (("-o", "runs", "--format", "csv"), "runs: cannot be written: Is a directory"),
        (("--format", "xlsx"), "'xlsx' is not one of 'table', 'csv', 'json', 'markdown', 'parquet'"),
    ],
)
def test_what_cannot_be_done_is_one_message(root, thaw, words, message):
    assert message in thaw("digits", *words, code=2)


# --- damaged runs ---------------------------------------------------------------------------------------------------


def torn_record(trial):
    trial.trial.write_text(trial.trial.read_text()[:40])


def newer_record(trial):
    trial.trial.write_text(json.dumps(json.loads(trial.trial.read_text()) | {"schema": 99}))


def torn_middle(trial):
    trial.epochs.write_text('{"epoch": 1, "st\n' + report(2, 0.5).to_json() + "\n")


def binary_epochs(trial):
    trial.epochs.write_bytes(bytes(range(256)) * 8)


def foreign_epochs(trial):
    trial.epochs.write_text('{"training_iteration": 1, "done": false}\n')


def wrong_kinds(trial):
    trial.epochs.write_text(json.dumps(json.loads(report(1, 0.5).to_json()) | {"kappa": "high"}) + "\n")


def epochs_are_a_folder(trial):
    trial.epochs.unlink()
    trial.epochs.mkdir()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (torn_record, "trial.json: not valid JSON"),
        (newer_record, "trial.json: schema 99 is newer than 1"),
        (torn_middle, "epochs.jsonl:1: not a line of JSON"),
        (binary_epochs, "epochs.jsonl:1: not a line of JSON"),
        (foreign_epochs, "epochs.jsonl:1: the epoch report has no epoch, stage"),
        (wrong_kinds, "epochs.jsonl: metrics.kappa: 'high': input should be a number"),
        (epochs_are_a_folder, "Is a directory"),
    ],
)
def test_a_damaged_trial_is_a_row_that_says_so_and_the_others_stand(root, thaw, damage, reason):
    damage(RunLayout(root).trial(1))
    rows = json.loads(thaw("digits", "--format", "json", "--sort", "trial"))
    assert [row["status"] for row in rows] == ["finished", "unreadable", "pruned", "failed"]
    assert reason in rows[1]["reason"]
    said = thaw("digits")
    assert "trial 1 cannot be read: " in said
    assert "★ 0" in said


def test_a_run_of_which_nothing_can_be_read_is_refused(root, thaw):
    for trial in RunLayout(root).all_trials():
        newer_record(trial)
    assert "schema 99 is newer than 1, the newest known here; update thaw" in thaw("digits", code=2)


@pytest.mark.parametrize(
    ("part", "rows"), [("trials", 0), ("trials/0001", 3), ("trials/0001/trial.json", 3), ("trials/0001/recipe.yaml", 4)]
)
def test_a_partly_deleted_run_is_what_is_left(root, thaw, part, rows):
    gone = root / part
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert len(json.loads(thaw("digits", "--format", "json"))) == rows


def test_epochs_that_are_gone_leave_a_row_without_a_score(root, thaw):
    RunLayout(root).trial(0).epochs.unlink()
    rows = json.loads(thaw("digits", "--format", "json", "--sort", "trial"))
    assert (rows[0]["status"], rows[0]["score"], rows[0]["epochs"]) == ("finished", None, 0)


def test_an_empty_run_and_one_without_a_finished_trial_say_so(root, thaw):
    write_run(Path("runs/empty"))
    write_run(Path("runs/young"), [{"scores": [0.5], "status": "running"}, {"status": "running"}])
    assert "no trials" in thaw("empty")
    assert "no trial has finished" in thaw("young")


def test_scores_that_are_no_numbers_are_missing_and_last(root, thaw):
    lost = [json.loads(each.to_json()) | {"score": None, "best_score": None} for each in reports_of([0.9])]
    write_trial(RunLayout(root), 4)
    RunLayout(root).trial(4).epochs.write_text("".join(f"{json.dumps(each)}\n" for each in lost))
    table = results_table(load(root))
    assert table["trial"].tolist()[-2:] == [3, 4]
    assert "★ 0" in thaw("digits")


# --- the documentation ----------------------------------------------------------------------------------------------

PAGE = (PROJECT / "docs" / "results.md").read_text(encoding="utf-8")
SHOWN = [line for line in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)[0].splitlines() if line]


@pytest.fixture
def documented(root):
    """The runs that the page speaks of."""
    searched = {"train.loss.gamma": 1.5}
    write_run(Path("runs/fashion"), [{"scores": [0.9], "params": searched}])
    for number in range(4):
        shutil.rmtree(RunLayout(root).trial(number).root)
        write_trial(RunLayout(root), number, [0.2, 0.6], params=searched)


@pytest.mark.parametrize("line", SHOWN)
def test_the_commands_that_the_page_shows_go_well(documented, thaw, line):
    words = shlex.split(line, comments=True)
    assert words[:2] == ["thaw", "results"]
    assert thaw(*words[2:]) or Path("digits.parquet").exists()


def test_the_python_that_the_page_shows_runs(documented):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(code, names)
    assert names["best"]["train.loss.gamma"].tolist() == [1.5] * 4
    assert len(pd.read_parquet("best.parquet")) == 4


# --- the notebook ---------------------------------------------------------------------------------------------------


def test_the_notebook_is_kept_without_what_it_showed():
    notebook = nbformat.read(PROJECT / "examples" / "analysis.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
