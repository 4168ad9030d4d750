"""`thaw train --workers 2`: what is refused; and, slowly, with a real Ray whose processes are killed."""

import copy
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from search.cli import main
from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_recipe, load_search
from search.preflight import process_check
from search.preflight.local_machine import this_machine
from tests.support.recipes import RECIPE
from tests.support.searches import PATIENCE_S, THAW, braked, command_line, wait_for
from trainables.data.dataset import open_dataset
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import TrialLayout

# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(RECIPE))
    return file


@pytest.fixture
def refused(recipe_file, monkeypatch):
    """`refused(*overrides, cpus=…)`: what is said about a run in processes, line by line; nothing where it fits."""

    def lines(*overrides, cpus=64):
        machine = dataclasses.replace(this_machine(), cpus=cpus)
        monkeypatch.setattr(process_check, "this_machine", lambda: machine)
        source = read_source(recipe_file, ["train.device=cpu", *overrides])
        recipe = load_recipe(source)
        data = open_dataset(recipe.data, image_sizes=recipe.image_sizes)
        problems = list(process_check.process_problems(recipe, data, here=True))
        return source.describe(problems).splitlines()

    return lines


# 46 training images in batches of 16: the smallest has 15. 179 to judge: 14.
@pytest.mark.parametrize(
    ("overrides", "cpus", "messages"),
    [
        (["train.workers=7"], 64, []),
        (["train.workers=2"], 2, []),
        (["train.workers=2"], 1, ["2 workers need 2 cores, and there are 1"]),
        (["train.workers=2", "train.cpu_threads=3"], 4, ["2 workers need 6 cores, and there are 4"]),
        (
            ["train.workers=8"],
            64,
            [f"8 workers need batches of 16 images to train, and stage {s!r} has some of 15" for s in ("head", "top")],
        ),
        (
            ["train.workers=3", "train.stages[top].batch_size=5"],
            1,
            [
                "3 workers need 3 cores, and there are 1",
                "3 workers need batches of 6 images to train, and stage 'top' has some of 4",
            ],
        ),
    ],
)
def test_what_cannot_be_shared_is_said_all_at_once(refused, overrides, cpus, messages):
    place = f"command line ({overrides[0]}) train.workers: "
    assert refused(*overrides, cpus=cpus) == [place + message for message in messages]


def test_workers_is_a_value_of_the_recipe_on_the_command_line(recipe_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["thaw", "train", recipe_file.name, "--workers", "4000"])
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: command line (train.workers=4000) train.workers: 4000 workers need 4000 cores")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["space={train.workers: {int: [1, 2]}}"], "cannot be searched: trials would need different resources"),
        (
            ["train.workers=2", "search.resources.gpus=0.5"],
            "search.resources.gpus: 0.5: each of a trial's 2 processes .* needs a GPU of its own",
        ),
    ],
)
def test_a_search_gives_each_process_of_its_trials_the_same(recipe_file, overrides, message):
    recipe_file.write_text(yaml.safe_dump({**RECIPE, "space": "ema", "search": {"trials": 2}}))
    with pytest.raises(InputError, match=message):
        load_search(read_source(recipe_file, overrides))


# --- with Ray -------------------------------------------------------------------------------------------------------

EPOCHS = 20
COMMAND = (THAW, "train", "long.yaml", "--workers", "2")
UNTIMED = ("train_s", "val_s", "cache_s", "images_per_s", "time", "uncached")


@pytest.fixture
def folder(tmp_path):
    """Where `long.yaml` trains a network of the user's own without BatchNorm, first its head and then all of it."""
    recipe = copy.deepcopy(RECIPE)
    recipe["data"]["image_size"] = 16
    rates = {"head_lr": 0.01, "backbone_lr": 0.001, "head_frozen_epochs": 0}
    recipe["train"] |= {
        "early_stop": None,
        "prefix_cache": True,
        "stages": [
            {"name": "head", "unfreeze_from": "head", "epochs": 2, "head_lr": 0.05, "dropout": 0.0},
            {"name": "all", "unfreeze_from": "all", "epochs": EPOCHS - 2, "dropout": 0.0, "plateau": None, **rates},
        ],
    }
    file = tmp_path / "long.yaml"
    file.write_text(yaml.safe_dump(recipe))
    braked(file).unlink()
    network = tmp_path / "braked_network.py"
    network.write_text(network.read_text().replace("BatchNorm2d(c_out)", "GroupNorm(2, c_out)"))
    return tmp_path


def train(folder, *more):
    """Until it ends."""
    return subprocess.run([*COMMAND, *more], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)


def start(folder, *, until):
    """The command under way, slowly, with so many epochs done; and its folder."""
    (folder / "brake").write_text("0.1")
    process = subprocess.Popen(COMMAND, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def far_enough():
        return [run for run in (folder / "runs").glob("*") if len(epochs_of(run)) >= until]

    wait_for(far_enough, f"{until} epochs", process)
    return process, far_enough()[0]


def epochs_of(run):
    """Reports without what clocks say."""
    reports = read_epochs(TrialLayout(run).epochs)
    return [{key: report[key] for key in report if key not in UNTIMED} for report in reports]


def workers_below(driver):
    """Processes that train, by rank's order of start."""
    below, parents = set(), {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended meanwhile
    grown = {driver}
    while grown:
        grown = {pid for pid, parent in parents.items() if parent in grown}
        below |= grown
    return [pid for pid in sorted(below) if b"RayTrainWorker" in command_line(pid)]


@pytest.mark.slow
def test_two_processes_train_as_one_does_go_on_when_they_are_killed_or_stopped_and_say_why_they_cannot(
    folder, monkeypatch
):
    straight = train(folder)
    assert straight.returncode == 0, straight.stderr
    (first,) = (folder / "runs").glob("*")
    expected = epochs_of(first)
    assert [report["epoch"] for report in expected] == list(range(1, EPOCHS + 1))
    assert straight.stdout.count("\nepoch ") == EPOCHS
    assert list(first.glob("events.out.tfevents*"))
    assert (first / "val_metrics.json").exists()
    assert (first / "val_predictions.parquet").exists()
    first.rename(folder / "straight")

    with monkeypatch.context() as here:
        here.chdir(folder)
        here.setattr(sys, "path", list(sys.path))
        here.setattr(sys, "dont_write_bytecode", True)  # the network is changed below
        here.setattr(sys, "argv", list(COMMAND[:3]))
        with pytest.raises(SystemExit, match=r"^0$"):
            main()
    del sys.modules["braked_network"]
    (single,) = (folder / "runs").glob("*")
    for one, two in zip(epochs_of(single)[:10], expected[:10], strict=True):
        for name in ("train_loss", "val_loss", "auc", "kappa", "score"):
            assert two[name] == pytest.approx(one[name], abs=1e-4)
    single.rename(folder / "single")

    process, run = start(folder, until=5)
    os.kill(workers_below(process.pid)[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert f"of runs/{run.name} was killed, or ran out of memory; the same command resumes the run" in errors
    assert "Traceback" not in errors
    done = len(epochs_of(run))
    assert done < EPOCHS

    process, same = start(folder, until=done + 5)
    assert same == run
    process.send_signal(signal.SIGTERM)  # which is raised as SIGINT: this stop goes both ways
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert not workers_below(process.pid)
    assert 5 < len(epochs_of(run)) < EPOCHS

    network = folder / "braked_network.py"
    ours = network.read_text()
    network.write_text(ours.replace("12)", "16)").replace("features=12", "features=16"))
    again = train(folder)
    assert again.returncode == 2
    said = f"error: {run} cannot be resumed: the checkpoint was made with other pretrained weights"
    assert again.stderr.startswith(said)
    assert "Traceback" not in again.stderr
    network.write_text(ours)

    (folder / "brake").unlink()
    rest = train(folder)
    assert f"{len(expected) - rest.stdout.count(chr(10) + 'epoch ')} epochs were trained before" in rest.stdout
    assert epochs_of(run) == expected
