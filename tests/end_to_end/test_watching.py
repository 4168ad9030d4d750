"""A search watched and stopped from another shell, its hook, its logs, and what a real TensorBoard makes of it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from search.run_folder.status_file import read_status
from tests.support.searches import PATIENCE_S, TRIALS, braked, epochs_done, search_file, start, thaw, wait_for
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

pytestmark = pytest.mark.slow

HOOK = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('THAW_')}), file=open('{}', 'a'))"


def hook(file):
    """A command that adds what it finds in its environment to a file."""
    return [sys.executable, "-c", HOOK.replace("{}", str(file))]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A search that was stopped with `thaw stop` and gone on with, and what was said meanwhile."""
    folder = tmp_path_factory.mktemp("stopped")
    layout, said = RunLayout(folder / "runs" / "small"), {}
    file = search_file(folder, on_finish=hook(folder / "hook.jsonl"), scheduler={"kind": "none"}, max_concurrent=1)
    brake = braked(file)
    driver = start("search", "small.yaml", folder=folder)
    wait_for(lambda: epochs_done(layout) >= 2, "two epochs", driver)
    said["watched"] = thaw("watch", "small", folder=folder).stdout
    stop = thaw("stop", "small", folder=folder)
    said["stop"], said["code"] = stop.stdout, stop.returncode
    said["driver"], _ = driver.communicate(timeout=PATIENCE_S)
    said["driver_code"], said["epochs"] = driver.returncode, epochs_done(layout)
    said["left"] = sorted(path.name for path in layout.root.iterdir())
    said["watched_stopped"] = thaw("watch", "small", folder=folder).stdout
    brake.unlink()
    resumed = thaw("resume", "small", "--trust-code", folder=folder)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    said["watched_complete"] = thaw("watch", "small", folder=folder).stdout
    said["hooks"] = [json.loads(line) for line in (folder / "hook.jsonl").read_text().splitlines()]
    return layout, said


def test_another_shell_sees_what_runs(stopped):
    _, said = stopped
    head, counts, *_ = said["watched"].splitlines()
    assert head.startswith("small  ")
    assert f"/{TRIALS} trials · best 0." in head
    assert "running" in counts
    assert "CPU " in counts


def test_another_shell_stops_it_and_resume_goes_on(stopped):
    layout, said = stopped
    assert (said["code"], said["driver_code"]) == (0, 130), said
    assert said["stop"].splitlines() == [
        "asked small to stop; waiting for it to end",
        "stopped; resume with: thaw resume small",
    ]
    assert "thaw resume small" in said["driver"]
    assert "Traceback" not in said["driver"]
    assert "stop" not in said["left"]
    assert said["epochs"] < sum(len(read_epochs(trial.epochs)) for trial in layout.all_trials())
    assert "stopped; resume with thaw resume small" in said["watched_stopped"].splitlines()
    assert "complete" in said["watched_complete"].splitlines()
    assert said["watched_complete"].startswith(f"small  {TRIALS}/{TRIALS} trials")


def test_its_hook_was_told_of_both_ends(stopped):
    layout, said = stopped
    assert [(hook["THAW_STATUS"], hook["THAW_RUN"]) for hook in said["hooks"]] == [
        ("stopped", str(layout.root)),
        ("complete", str(layout.root)),
    ]
    best = int(said["hooks"][-1]["THAW_BEST_TRIAL"])
    assert float(said["hooks"][-1]["THAW_BEST_SCORE"]) == read_epochs(layout.trial(best).epochs)[-1]["best_score"]


def test_every_trial_has_a_log_of_its_own(stopped):
    layout, _ = stopped
    for trial in layout.all_trials():
        log = trial.output.read_text()
        numbers = [line.split("trial ")[1].split(",")[0] for line in log.splitlines() if ", attempt " in line]
        assert set(numbers) == {str(trial.number)}


def fetch(port, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/data/plugin/hparams/{path}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def tensorboard(stopped):
    """Port of a real server on the run, on loopback."""
    layout, _ = stopped
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("tensorboard")), "--logdir", str(layout.trials), "--port", str(port)]
    server = subprocess.Popen([*command, "--host", "127.0.0.1", "--load_fast", "false"], stderr=subprocess.DEVNULL)

    def answers():
        try:
            return fetch(port, "experiment", {"experimentName": ""}).get("hparamInfos")
        except OSError:
            return False

    wait_for(answers, "TensorBoard")
    yield port
    server.terminate()
    server.wait(timeout=30)


def test_tensorboard_shows_hyperparameters_beside_the_best_score(stopped, tensorboard):
    layout, _ = stopped
    experiment = fetch(tensorboard, "experiment", {"experimentName": ""})
    assert {info["name"] for info in experiment["hparamInfos"]} == {
        "train.stages[*].head_lr",
        "train.loss.max_margin",
        "train.ema.decay",
    }
    ((metric),) = experiment["metricInfos"]
    assert metric["name"] == {"group": "", "tag": "validation/best_score"}
    columns = [{"hparam": info["name"], "includeInResult": True} for info in experiment["hparamInfos"]]
    request = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [*columns, {"metric": metric["name"], "includeInResult": True}],
        "startIndex": 0,
        "sliceSize": 100,
    }
    deadline = time.monotonic() + PATIENCE_S
    while len(groups := fetch(tensorboard, "session_groups", request)["sessionGroups"]) < TRIALS:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for trial, group in zip(layout.all_trials(), sorted(groups, key=lambda group: group["name"]), strict=True):
        assert group["name"] == trial.root.name
        assert {name: pytest.approx(value) for name, value in group["hparams"].items()} == read_record(trial).params
        (session,) = group["sessions"]
        assert session["status"] == "STATUS_SUCCESS"
        (value,) = group["metricValues"]
        assert value["value"] == pytest.approx(read_epochs(trial.epochs)[-1]["best_score"])


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_a_browser_shows_the_table_of_hyperparameters(tensorboard, tmp_path):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 700})
        page.goto(f"http://127.0.0.1:{tensorboard}/#hparams")
        page.get_by_text("train.loss.max_margin").first.wait_for(timeout=600_000)
        page.get_by_text("best balanced_accuracy").first.wait_for(timeout=600_000)
        page.wait_for_timeout(1000)
        page.screenshot(path=os.environ.get("SCREENSHOT") or tmp_path / "hparams.png")
        browser.close()


def test_a_killed_driver_is_said_to_be_dead_and_a_neighbour_is_not_disturbed(tmp_path):
    file = search_file(tmp_path, max_concurrent=1, scheduler={"kind": "none"})
    braked(file)
    layouts = [RunLayout(tmp_path / "runs" / name) for name in ("one", "two")]
    drivers = [start("search", str(file), f"search.name={layout.root.name}", folder=tmp_path) for layout in layouts]
    try:
        for layout in layouts:
            wait_for(lambda layout=layout: epochs_done(layout) >= 1, "an epoch")
        assert thaw("stop", "one", folder=tmp_path).stdout.endswith("thaw resume one\n")
        assert drivers[0].wait(timeout=PATIENCE_S) == 130
        assert read_status(layouts[1]).state == "running"
        assert drivers[1].poll() is None
        os.kill(drivers[1].pid, signal.SIGKILL)
        drivers[1].wait()
        shown = thaw("watch", "two", "--once", folder=tmp_path).stdout
        killed = f"its driver was killed (process {drivers[1].pid} on {socket.gethostname()})"
        assert f"{killed}; resume with thaw resume two" in shown.splitlines()
        assert thaw("stop", "two", folder=tmp_path).stdout == "two is not running\n"
    finally:
        for driver in drivers:
            if driver.poll() is None:
                driver.kill()
            driver.communicate()
