"""`thaw confirm` and `thaw ablate` as a user runs them: real trials on a real Ray, with a look at the test split."""

import copy
import json

import pytest
import yaml

from results_analysis import confirmation_of, load, load_comparison
from tests.support.recipes import RECIPE
from tests.support.searched_runs import write_trial
from tests.support.searches import thaw
from trainables.run_folder.layout import RunLayout

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds a search of three trials, written as one that is through."""
    folder = tmp_path_factory.mktemp("confirm")
    config = copy.deepcopy(RECIPE)
    config["data"]["test"] = 0.2
    config["space"] = {"train.stages[*].head_lr": {"log": [0.005, 0.1]}}
    config["search"] = {"trials": 3, "scheduler": {"kind": "none"}, "max_concurrent": 1}
    layout = RunLayout(folder / "runs" / "s")
    layout.root.mkdir(parents=True)
    layout.config.write_text(yaml.safe_dump(config))
    for number, (head_lr, score) in enumerate([(0.01, 0.5), (0.05, 0.7), (0.1, 0.6)]):
        recipe = copy.deepcopy({section: config[section] for section in ("data", "model", "train")})
        for stage in recipe["train"]["stages"]:
            stage["head_lr"] = head_lr
        params = {"train.stages[*].head_lr": head_lr}
        write_trial(layout, number, [score], params=params, recipe=yaml.safe_dump(recipe))
    config["ablate"] = {"seeds": 2, "changes": {"batches": {"train.batch_size": 8}}}
    (folder / "s.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_the_best_are_trained_again_and_tested(folder):
    done = thaw("confirm", "s", "--top", "2", "--seeds", "2", folder=folder)
    assert done.returncode == 0, done.stderr
    found = confirmation_of(load(folder / "runs" / "s"))
    assert [len(candidate.scores) for candidate in found.candidates] == [2, 2]
    assert all(0 <= value <= 1 for candidate in found.candidates for value in candidate.test.values())
    assert f"{found.scored[0].name} is best" in done.stdout
    assert "On the test split, which no choice was based on" in done.stdout
    tests = [json.loads(trial.test.read_text()) for trial in RunLayout(folder / "runs" / "s" / "confirm").all_trials()]
    assert [test["images"] for test in tests] == [359] * 4

    again = thaw("confirm", "s", "--top", "2", "--seeds", "2", folder=folder)
    assert again.returncode == 0
    assert done.stdout.splitlines()[-4:] == again.stdout.splitlines()[-4:]  # nothing is trained twice
    other = thaw("confirm", "s", "--top", "1", "--seeds", "2", folder=folder)
    assert other.returncode == 2
    assert "holds a different comparison; start a new one with --new" in other.stderr


def test_an_ablation_is_one_table(folder):
    done = thaw("ablate", "s.yaml", folder=folder)
    assert done.returncode == 0, done.stderr
    found = load_comparison(load(folder / "runs" / "s-ablate"))
    assert [(candidate.name, len(candidate.scores)) for candidate in found.candidates] == [
        ("baseline", 2),
        ("batches", 2),
    ]
    assert "baseline" in done.stdout
    assert not list((folder / "runs" / "s-ablate" / "trials").glob("*/test.json"))
