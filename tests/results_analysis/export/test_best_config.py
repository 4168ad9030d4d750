"""The exported config: which trial, what it says, and that it reads back exactly."""

from datetime import datetime
from importlib.metadata import version

import pytest
import yaml

from results_analysis.export.best_config import as_yaml, best_trial, export_trial, trial_config
from results_analysis.runs.run import RunError, load
from tests.results_analysis.runs.test_run import RECIPE, write_run
from trainables.core.vocabulary import Metric
from trainables.run_folder.layout import RunLayout

ENVIRONMENT = {"data_fingerprint": "sha256:ab", "torch": "2.9.1", "python": "3.11.9", "cpu_threads": 1, "commit": None}
TRIALS = [
    {"scores": [0.4, 0.5, 0.45], "environment": ENVIRONMENT},
    {"scores": [0.9], "status": "pruned"},
    {"status": "failed", "reason": "out of memory"},
    {"scores": [0.1, 0.2]},
]


@pytest.fixture
def run(tmp_path):
    return load(write_run(tmp_path / "digits", TRIALS))


def test_the_best_finished_trial_is_exported(run):
    assert best_trial(run) == 0
    assert trial_config(run)["provenance"]["trial"] == 0


def test_the_lowest_loss_is_exported(tmp_path):
    run = load(write_run(tmp_path / "r", [{"scores": [0.5]}, {"scores": [0.2]}], metric=Metric.VAL_LOSS))
    assert best_trial(run) == 1


def test_provenance_says_where_the_recipe_comes_from(run):
    provenance = trial_config(run)["provenance"]
    assert datetime.fromisoformat(provenance.pop("exported")).tzinfo is not None
    assert provenance == {
        "search": "digits",
        "trial": 0,
        "metric": "kappa",
        "score": 0.5,
        "best_epoch": 2,
        "epochs": 3,
        "status": "finished",
        "trials": {"finished": 2, "pruned": 1, "failed": 1},
        "thaw": version("thaw-search"),
        "environment": ENVIRONMENT,
    }


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_named_trial_is_exported_whatever_became_of_it(run, number):
    config = trial_config(run, trial=number)
    assert config["train"]["seed"] == number
    assert config["provenance"]["trial"] == number
    assert config["provenance"]["status"] == TRIALS[number].get("status", "finished")


def test_where_no_trial_has_finished_the_best_of_the_others_is_exported_with_a_note(tmp_path):
    run = load(
        write_run(tmp_path / "r", [{"scores": [0.4], "status": "pruned"}, {"scores": [0.6], "status": "running"}])
    )
    config = trial_config(run)
    assert config["provenance"]["trial"] == 1
    assert config["provenance"]["note"] == "no trial of the search had finished; this one was running"
    assert "# Note: no trial of the search had finished; this one was running.\n" in as_yaml(config)


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        ([], "it has no trials yet$"),
        ([{"status": "running"}], r"no trial has a score yet \(1 running\)$"),
        (
            [{"scores": [0.5], "status": "infeasible"}],
            r"no trial with a score may be the best \(1 infeasible\); name one of its trials$",
        ),
    ],
)
def test_without_a_trial_to_choose_nothing_is_exported(tmp_path, trials, why):
    with pytest.raises(RunError, match=f"run 'r' has no best trial: {why}"):
        best_trial(load(write_run(tmp_path / "r", trials)))


def test_an_unknown_trial_is_refused(run):
    with pytest.raises(RunError, match="has no trial 9; its trials are 0-3"):
        trial_config(run, trial=9)


@pytest.mark.parametrize("missing", ["data", "model", "train"])
def test_a_recipe_that_is_not_whole_is_refused_by_file(run, missing):
    recipe = {key: value for key, value in RECIPE.items() if key != missing}
    RunLayout(run.layout.root).trial(0).recipe.write_text(yaml.safe_dump(recipe))
    with pytest.raises(RunError, match=rf"0000/recipe\.yaml: {missing} missing"):
        trial_config(run)


def test_extras_join_the_provenance(run):
    assert trial_config(run, extras={"confirmed": {"runs": 5}})["provenance"]["confirmed"] == {"runs": 5}


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_file_reads_back_as_the_recipe_and_its_provenance(run):
    written = yaml.safe_load(export_trial(run).read_text())
    assert {key: written[key] for key in RECIPE} == RECIPE
    assert written["provenance"]["environment"] == ENVIRONMENT


def test_the_file_keeps_the_order_in_which_people_read(run):
    mixed = {"train": {"stages": [{"name": "head", "epochs": 3}], "metric": "kappa"}, "model": {}, "data": {}, "x": 1}
    run.layout.trial(0).recipe.write_text(yaml.safe_dump(mixed, sort_keys=False))
    written = yaml.safe_load(export_trial(run).read_text())
    assert list(written) == ["data", "model", "train", "provenance"]
    assert list(written["train"]["stages"][0]) == ["name", "epochs"]
    assert list(written["provenance"])[:3] == ["search", "trial", "metric"]


def test_the_file_says_on_top_what_it_is_and_how_to_train_it_again(run, tmp_path):
    text = export_trial(run, tmp_path / "out" / "mine.yaml").read_text()
    assert text.splitlines()[:2] == [
        "# Trial 0 of 4 of the search 'digits': kappa 0.5000 (finished).",
        "# Train it again: thaw train mine.yaml",
    ]
    assert "\n\ndata:\n" in text
    assert "\n\nprovenance:\n" in text


def test_a_trial_without_an_epoch_says_so_on_top(run):
    assert as_yaml(trial_config(run, trial=2)).startswith(
        "# Trial 2 of 4 of the search 'digits': no epoch yet (failed)."
    )


def test_a_strange_name_stays_in_its_comment(tmp_path):
    run = load(write_run(tmp_path / "a\ntrain: {}", [{"scores": [0.5]}]))
    assert yaml.safe_load(as_yaml(trial_config(run)))["train"] == RECIPE["train"]


@pytest.mark.parametrize(
    "value", [0.1 + 0.2, 1 / 3, 1e-5, 5e-324, 1e16, 1.7976931348623157e308, -0.0, 3.0, 1e-4, 123456.789]
)
def test_floats_survive_the_file_exactly(run, value):
    config = {**trial_config(run), "train": {"lr": value}}
    read = yaml.safe_load(as_yaml(config))["train"]["lr"]
    assert type(read) is float
    assert repr(read) == repr(value)


@pytest.mark.parametrize("value", ["on", "1e-3", "2025-01-01", "ä: #", "null", "", "~"])
def test_texts_survive_the_file_as_texts(run, value):
    config = {**trial_config(run), "train": {"name": value}}
    assert yaml.safe_load(as_yaml(config))["train"]["name"] == value


def test_a_value_that_stands_in_two_places_is_written_out_twice(run):
    plateau = {"patience": 5}
    text = as_yaml({**trial_config(run), "train": {"a": plateau, "b": plateau}})
    assert "&" not in text
    assert text.count("patience: 5") == 2


def test_the_file_goes_into_the_run_unless_told_otherwise(run, tmp_path):
    assert export_trial(run) == run.layout.best
    assert export_trial(run, tmp_path / "other.yaml", trial=3) == tmp_path / "other.yaml"
    assert yaml.safe_load((tmp_path / "other.yaml").read_text())["train"]["seed"] == 3


def test_an_export_that_fails_leaves_the_old_file(run):
    before = export_trial(run).read_text()
    with pytest.raises(yaml.YAMLError, match="cannot represent"):
        export_trial(run, extras={"odd": object()})
    assert run.layout.best.read_text() == before
    assert not list(run.layout.root.glob(".best*"))
