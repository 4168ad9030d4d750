"""Other people's tools on our runs: MLflow has every trial, optuna-dashboard opens the study. The tools are real."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from results_analysis import load
from results_analysis.export.mlflow import to_mlflow
from results_analysis.runs.errors import RunError
from search.config.yaml_source import read_source
from search.config_file.load import load_search
from search.tuning.study_storage import open_study
from tests.support.recipes import RECIPE
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import TrialRecord

START = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def run(tmp_path):
    """A search of two trials that have ended and one that still runs."""
    layout = RunLayout(tmp_path / "digits")
    layout.root.mkdir()
    space = {"train.batch_size": {"choice": [8, 16]}, "train.stages[*].batch_size": {"choice": [None]}}
    layout.config.write_text(yaml.safe_dump({**RECIPE, "space": space}))
    write_trial(layout, 0, TrialStatus.FINISHED, [0.25, None, 0.5])
    write_trial(layout, 1, TrialStatus.PRUNED, [0.125], reason="not among the best")
    write_trial(layout, 2, TrialStatus.RUNNING, [0.25])
    return load(layout.root)


def write_trial(layout, number, status, scores, *, reason=None):
    folder = layout.trial(number)
    folder.root.mkdir(parents=True, exist_ok=True)
    ended = None if status is TrialStatus.RUNNING else "2026-01-01T00:01:00+00:00"
    params = {"train.batch_size": 8 * (1 + number % 2), "train.stages[*].batch_size": None}
    TrialRecord(number=number, params=params, status=status, started=START, ended=ended, reason=reason).write(folder)
    same = {"stage": "head", "stage_index": 0, "best_epoch": 1, "flags": [], "train_s": 1.0, "time": START}
    lines = [
        json.dumps({**same, "epoch": i, "score": s, "best_score": s, "balanced_accuracy": s, "train_loss": 1.0})
        for i, s in enumerate(scores, start=1)
    ]
    folder.epochs.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_mlflow_has_every_trial_once(run, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert to_mlflow(run, uri) == "digits"
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("digits").experiment_id

    def trials():
        return {int(one.data.tags["thaw.trial"]): one for one in client.search_runs([experiment])}

    first = trials()
    assert {number: one.info.status for number, one in first.items()} == {0: "FINISHED", 1: "KILLED", 2: "RUNNING"}
    assert first[1].data.params == {"train.batch_size": "16", "train.stages.all.batch_size": "null"}
    assert first[1].data.tags["thaw.reason"] == "not among the best"
    curve = client.get_metric_history(first[0].info.run_id, "balanced_accuracy")
    assert [(point.step, point.value) for point in curve] == [(1, 0.25), (3, 0.5)]

    write_trial(run.layout, 2, TrialStatus.FINISHED, [0.25, 0.75])
    to_mlflow(run, uri)
    again = trials()
    assert {number: one.info.status for number, one in again.items()} == {0: "FINISHED", 1: "KILLED", 2: "FINISHED"}
    assert again[0].info.run_id == first[0].info.run_id
    assert again[2].data.metrics["score"] == 0.75


def test_a_store_that_cannot_be_used_is_one_message(run, tmp_path):
    pytest.importorskip("mlflow")
    with pytest.raises(RunError, match=r"^MLflow at nonsense://x: "):
        to_mlflow(run, "nonsense://x")


def test_without_mlflow_its_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(RunError, match=r"pip install 'thaw-search\[mlflow\]'"):
        to_mlflow(run, "sqlite:///x.db")


@pytest.mark.slow
def test_optuna_dashboard_shows_the_stored_study(run, tmp_path):
    program = Path(sys.executable).with_name("optuna-dashboard")
    config = load_search(read_source(run.layout.config)).renamed("digits")
    layout = RunLayout(tmp_path / "fresh")
    layout.root.mkdir()
    study = open_study(layout, config)
    trial = study.ask()
    trial.suggest_categorical("train.batch_size", [8, 16])
    trial.report(0.25, 1)
    study.tell(trial, 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, layout.study, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        (shown,) = asked(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        assert shown["study_name"] == "digits"
        trials = asked(f"http://127.0.0.1:{port}/api/studies/{shown['study_id']}?after=0")["trials"]
        assert [(one["state"], one["values"]) for one in trials] == [("Complete", [0.5])]
    finally:
        server.terminate()
        server.wait()


def asked(url: str) -> dict:
    """The answer, once the server has started."""
    for _ in range(240):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)
        time.sleep(0.5)
    raise AssertionError(f"no answer from {url} ({os.getloadavg()})")
