"""Run folders that others have written or damaged: nothing in them runs, and what is wrong is one message."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import plotly.offline
import pytest
import torch

from search.cli import main
from search.config.search_config import checked_name
from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_search
from search.tuning.study_storage import open_study, repair_journal
from tests.support.project import PROJECT
from tests.support.recipes import RECIPE
from tests.support.searched_runs import write_search
from trainables.run_folder.layout import RunLayout

READING = [("results", "r"), ("export", "r"), ("report", "r"), ("checkpoints", "r", "--trial", "0", "verify")]


MORE = {"best_corrected": 0.1, "drw_pending": False, "compute": 10, "compute_share": 0.5}


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of two trials, one of them with checkpoints, with its study."""
    monkeypatch.chdir(tmp_path)
    # Of its megabytes, which each page repeats, no file of a run changes a letter.
    monkeypatch.setattr(plotly.offline, "get_plotlyjs", lambda: "")
    layout = RunLayout(
        write_search(tmp_path / "runs" / "r", [{"scores": [0.1, 0.2], **MORE}, {"scores": [0.3], **MORE}])
    )
    config = load_search(read_source(layout.config))
    layout.config.write_text(config.renamed("r").to_yaml())
    layout.trial(0).checkpoints.mkdir()
    for epoch in (1, 2):
        torch.save({"schema": 1}, layout.trial(0).checkpoints / f"000{epoch}_head_balanced_accuracy=0.1000.pt")
    return layout


@pytest.fixture
def thaw(monkeypatch, capsys):
    """`thaw(*words)`: exit status, output and errors of a command, run in this process."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["thaw", *words])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
        return status, *capsys.readouterr()

    return call


def with_study(layout, trials=2):
    """The run's study, of so many trials."""
    config = load_search(read_source(layout.config))
    held = [layout.trials.rename(layout.trials.with_name("held"))]
    study = open_study(layout, config)
    for _ in range(trials):
        study.ask()
    held[0].rename(layout.trials)
    return config


def files_of(layout):
    return sorted(path for path in layout.root.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("words", READING, ids=lambda words: words[0])
def test_a_pickle_in_place_of_any_file_of_a_run_is_never_loaded(tmp_path, run, thaw, words):
    mark = tmp_path / "it ran"
    (run.ray / "attempt-1").mkdir(parents=True)
    for name in ("tuner.pkl", "trainable.pkl", "searcher-state.pkl"):
        (run.ray / "attempt-1" / name).write_bytes(b"")
    with_study(run)
    for file in files_of(run):
        before = file.read_bytes()
        file.write_bytes(pickle.dumps(Evil(mark)))
        status, _, errors = thaw(*words)
        assert not mark.exists(), file
        assert status in {0, 1, 2}, file
        assert "Traceback" not in errors
        file.write_bytes(before)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b"{", b"[1, 2]\n", b"!!python/object/apply:os.system [touch ran]\n", b"\xff\xfe\n", b"null\n"],
)
@pytest.mark.slow
@pytest.mark.parametrize("words", READING[:3], ids=lambda words: words[0])
def test_whatever_stands_in_a_file_is_one_message_or_none(run, thaw, words, content):
    for file in files_of(run):
        before = file.read_bytes()
        file.write_bytes(content)
        status, _, errors = thaw(*words)
        assert status in {0, 2}, file
        assert status == 0 or errors.startswith("error: "), file
        file.write_bytes(before)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("journal", "message"),
    [
        (b"", "has the folder of trial 0, but its study .* has only 0 trials"),
        (b"no journal", "has the folder of trial 0"),
        (b"no journal\nat all\n", "study.journal is damaged"),
        (b'{"op_code": 4}\n{"op_code": 99}\n', "study.journal is damaged"),
        (b"[1]\n[2]\n", "study.journal is damaged"),
        (pickle.dumps(Evil(Path("ran"))) + b"\n\n", "study.journal is damaged"),
    ],
)
def test_a_study_that_is_none_is_refused_before_a_trial_is_lost(run, journal, message):
    config = with_study(run)
    run.study.write_bytes(journal)
    repair_journal(run)
    with pytest.raises(InputError, match=message):
        open_study(run, config)
    assert not Path("ran").exists()


def test_a_study_of_fewer_trials_than_the_run_has_is_refused(run):
    config = with_study(run, trials=1)
    with pytest.raises(InputError, match=r"has the folder of trial 1, but its study .* has only 1 trials"):
        open_study(run, config)


def test_half_a_line_of_the_journal_costs_that_line(run):
    config = with_study(run)
    whole = run.study.read_bytes()
    run.study.write_bytes(whole + b'{"op_code":5,"worker_id"')
    repair_journal(run)
    assert run.study.read_bytes() == whole
    assert len(open_study(run, config).trials) == 2


@pytest.mark.parametrize(
    "name", ["..", "../up", "/etc/cron.d/x", "a/b", "a\\b", ".hidden", "", "-rf", "a\0b", "a\nb", "ä" * 3]
)
def test_what_leads_out_of_the_folder_of_runs_names_none(name):
    with pytest.raises(ValueError, match="cannot be the name of a run folder"):
        checked_name(name)


@pytest.mark.parametrize("words", [("train", "x.yaml", "--resume", "../r"), ("train", "x.yaml", "--resume", "/etc")])
def test_train_resumes_no_folder_outside(run, thaw, words):
    Path("x.yaml").write_text(json.dumps(RECIPE))
    status, _, errors = thaw(*words)
    assert status == 2
    assert "is not a training run" in errors


@pytest.mark.parametrize(("given", "mode"), [({}, "token"), ({"RAY_AUTH_MODE": "disabled"}, "disabled")])
def test_ray_asks_for_a_token_unless_the_user_says_otherwise(given, mode):
    code = "import json, os, search.cluster.ray_connection; print(json.dumps(os.environ.get('RAY_AUTH_MODE')))"
    others = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=others | given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == mode
