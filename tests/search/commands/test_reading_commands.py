"""Every command that reads a search, on searches that can legitimately exist: it answers, and what it says is true."""

import csv
import io
import json
import math
import re
import subprocess
import sys

import pytest
import yaml

from results_analysis import load
from results_analysis.findings.conclusions import conclusions
from results_analysis.findings.finding import Evidence, Topic
from results_analysis.statistics import importance
from results_analysis.tables.run_snapshot import take_snapshot
from search.cli import main
from tests.support.odd_searches import best_epoch, facts_of, write_odd_search
from trainables.core.dotted_paths import with_values
from trainables.recipe.recipe import Recipe, parse_recipe

FEW, MANY = range(2), range(2, 8)
"""Seeds of the searches that the default and the slow tests read."""
READING = (
    ("results", "RUN"),
    ("results", "RUN", "--pareto"),
    *(("results", "RUN", "--format", kind) for kind in ("csv", "json", "markdown")),
    ("results", "RUN", "-o", "OUT/table.parquet"),
    ("report", "RUN"),
    ("report", "RUN", "--trial", "0", "-o", "OUT/trial.html"),
    ("watch", "RUN", "--once"),
    ("checkpoints", "RUN", "--trial", "0"),
    ("checkpoints", "RUN", "verify", "--trial", "0"),
    ("checkpoints", "RUN", "report", "--trial", "0"),
    ("compare", "RUN", "RUN"),
    ("compare", "RUN", "RUN", "--format", "json"),
    ("export", "RUN", "-o", "OUT/best.yaml"),
    ("export", "RUN", "-o", "OUT/best.yaml", "--within", "1se", "--cheapest"),
)
NOTHING_TO_READ = re.compile(
    "error: run '[^']*' has no (best trial: (it has no trials yet|no trial (has a score yet|with a score may be the best))"
    "|trial 0; it has none yet|finished trial with a score to choose from)|error: .* has no checkpoints yet|error: within: "
)
"""The only refusals: there is nothing that the command could read."""


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """`run(folder, *words)`: what a command prints; it succeeds, or says that there is nothing to read."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(
        importance, "RESAMPLES", {"ped_anova": 3, "fanova": 1}
    )  # as many sentences in a tenth of the time

    def run(folder, *words):
        given = [{"RUN": str(folder)}.get(word, word.replace("OUT", str(tmp_path))) for word in words]
        monkeypatch.setattr(sys, "argv", ["thaw", *given])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert not ended.value.code or (ended.value.code == 2 and NOTHING_TO_READ.match(err)), (words, ended.value, err)
        return out

    return run


@pytest.mark.parametrize("seed", FEW)
def test_every_command_reads_every_search(tmp_path, run, seed):
    every_command_is_right(tmp_path, run, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_every_command_reads_many_searches(tmp_path, run, seed):
    every_command_is_right(tmp_path, run, seed)


def every_command_is_right(tmp_path, run, seed):
    folder = write_odd_search(tmp_path / f"odd-{seed}", seed)
    said = {words: run(folder, *words) for words in READING}
    facts, metric = facts_of(folder), load(folder).metric
    tables_are_right(json.loads(said["results", "RUN", "--format", "json"]), facts, metric.mode)
    assert [row["trial"] for row in csv.DictReader(io.StringIO(said["results", "RUN", "--format", "csv"]))] == [
        str(row["trial"]) for row in json.loads(said["results", "RUN", "--format", "json"])
    ]
    exported = tmp_path / "best.yaml"
    if exported.exists():
        assert yaml.safe_load(exported.read_text())["provenance"]["trial"] in facts
    sentences_are_true(folder, facts)


def tables_are_right(rows, facts, mode):
    assert {row["trial"] for row in rows} == facts.keys()
    for row in rows:
        trial = facts[row["trial"]]
        best = best_epoch(trial["lines"], mode)
        assert (row["best_epoch"] or None, row["score"]) == (best or (None, None))
        assert row["status"] == trial["status"]
        assert row["epochs"] == len(trial["lines"])
        assert row["train_s"] == pytest.approx(sum(line["train_s"] for line in trial["lines"]))
        for path, value in trial["params"].items():
            assert row[path] == ("null" if value is None else value), path
        assert all(row[path] is None for path in row if "." in path and path not in trial["params"])
        for name, value in trial["objectives"].items():
            assert name in ("score", "train_s", "val_loss") or row[name] == value
    scores = [row["score"] for row in rows if row["score"] is not None]
    assert scores == sorted(scores, reverse=mode == "max")


# --- sentences of the report ------------------------------------------------------------------------------------------


def sentences_are_true(folder, facts):
    snapshot = take_snapshot(load(folder))
    found = conclusions(Evidence(snapshot, importance.importances(snapshot), "odd"))
    text = {topic: " ".join(each.text for each in found if each.topic is topic) for topic in Topic}
    the_best_is_the_best(text[Topic.BEST], facts, snapshot)
    importance_is_shared(text[Topic.MATTERED])
    advice_is_possible(text[Topic.NEXT], snapshot)
    the_end_is_the_end(found, folder, facts)
    said = " ".join(text.values())
    assert not re.search(r"\bnan\b(?!\)| |,|\.|:)|\binf\b", said), said


def the_best_is_the_best(text, facts, snapshot):
    metric = snapshot.metric
    scored = {number: best_epoch(trial["lines"], metric.mode) for number, trial in facts.items()}
    scored = {number: best for number, best in scored.items() if best}
    ranked = [("finished",), ("pruned", "running")]
    chosen = next((c for c in ([n for n in scored if facts[n]["status"] in group] for group in ranked) if c), [])
    if not chosen:
        assert "so there is no best trial" in text or "has no trials yet" in text
        assert not (scored and "has a score yet" in text)
        return
    sign = 1 if metric.mode == "min" else -1
    best = min(chosen, key=lambda number: (sign * scored[number][1], number))
    assert text.startswith(f"Trial {best} has the best ")
    if counted := re.search(r"best of (\d+) finished", text):
        assert int(counted[1]) <= sum(facts[number]["status"] == "finished" for number in scored)
    if used := re.search(r"[Tt]rial (\d+) used the search file's own values and", text):
        recipe, config = snapshot.run.recipe(int(used[1])), snapshot.run.config
        assert recipe == {section: config[section] for section in recipe}


def importance_is_shared(text):
    assert "100% of the importance, 100%" not in text, "of a single value, which shares it with none"


def advice_is_possible(text, snapshot):
    for name, bound in re.findall(
        r"(\S+): the best trial is at the .*? Widen the range, for example to (\S+)\.(?: |$)", text
    ):
        path = next(value.path for value in snapshot.searched if value.name == name)
        number = json.loads(bound)
        assert math.isfinite(number)
        recipe = snapshot.run.recipe(snapshot.best)
        before = Recipe.model_validate(recipe)
        assert parse_recipe(with_values(before.model_dump(mode="json"), {path: number})) != before


def the_end_is_the_end(found, folder, facts):
    status = json.loads(file.read_text()) if (file := folder / "status.json").exists() else {}
    planned = yaml.safe_load((folder / "search.yaml").read_text())["search"]["trials"]
    missing = len(facts) < planned or any(trial["status"] == "running" for trial in facts.values())
    resumed = any(each.command == "thaw resume odd" for each in found)
    assert resumed == bool(facts and missing and status.get("state") != "complete")


@pytest.mark.slow
def test_mlflow_takes_searches_of_every_kind(tmp_path, run):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri)
    for seed in (1, 4, 9):
        folder = write_odd_search(tmp_path / f"odd-{seed}", seed)
        run(folder, "mlflow", "RUN", "--uri", uri)
        runs = client.search_runs([client.get_experiment_by_name(folder.name).experiment_id])
        facts = facts_of(folder)
        assert {int(one.data.tags["thaw.trial"]) for one in runs} == facts.keys()
        for one in runs:
            trial = facts[int(one.data.tags["thaw.trial"])]
            assert len(one.data.params) == len(trial["params"])
            assert one.data.metrics.keys() >= {f"objective.{name}" for name in trial["objectives"]}


# --- terminals and streams --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
def test_what_is_printed_fits_any_encoding(tmp_path, monkeypatch, encoding):
    folder = write_odd_search(tmp_path / "whole", 1, trials=3, statuses=["finished"], space={})
    printed = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", printed)
    for words in (["results", folder], ["results", folder, "--format", "csv"], ["watch", folder, "--once"]):
        monkeypatch.setattr(sys, "argv", ["thaw", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    printed.flush()
    star = "★" if encoding == "utf-8" else "*"
    assert f"{star} " in printed.buffer.getvalue().decode(encoding)


def test_the_page_may_be_the_output_and_nothing_else_is_printed(tmp_path):
    folder = write_odd_search(tmp_path / "whole", 1, trials=0)
    thaw = [sys.executable, "-c", "from search.cli import main; main()"]
    done = subprocess.run([*thaw, "report", folder, "-o", "/dev/stdout"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.rstrip().endswith("</html>")
    assert done.stderr == "/dev/stdout\n"
