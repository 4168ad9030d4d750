"""Recipes beside each other, over seeds: what a confirmation and an ablation train, and what they say of it."""

import copy
import json

import pytest
import yaml

from results_analysis import (
    best_confirmed,
    comparison_table,
    confirmation_of,
    load,
    load_comparison,
    trial_config,
    verdict,
)
from results_analysis.runs.run import RunError
from results_analysis.tables.terminal_comparison import render_comparison
from search.cli import main
from search.config.search_config import SearchSettings, json_schema
from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_ablated, load_search
from search.launch.ablation import ablation
from search.launch.confirmation import confirmation, fresh_seeds
from search.launch.seed_comparison import comparison_of
from tests.support.recipes import RECIPE
from trainables.core.dotted_paths import with_values
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import TrialRecord, now

TRIAL = {"epoch": 1, "stage": "head", "stage_index": 0, "best_epoch": 1, "flags": [], "train_s": 2.0, "time": "now"}


def write_trial(layout, number, params, score, *, status=TrialStatus.FINISHED, test=None, reason=None, recipe=RECIPE):
    folder = layout.trial(number)
    folder.root.mkdir(parents=True)
    TrialRecord(number=number, params=params, status=status, started=now(), reason=reason).write(folder)
    folder.epochs.write_text(
        json.dumps(TRIAL | {"score": score, "best_score": score, "balanced_accuracy": score}) + "\n"
    )
    folder.recipe.write_text(yaml.safe_dump(recipe))
    if test is not None:
        folder.test.write_text(json.dumps({"images": 10, "metrics": {"balanced_accuracy": test}}))


@pytest.fixture
def write_comparison(tmp_path, make_recipe):
    """`write_comparison({"a": {1: 0.8, 2: None}})`: the folder of a comparison, with scores by candidate and seed."""

    def write(scores, *, search_scores=None, test=None, metric="balanced_accuracy", root=tmp_path / "confirm"):
        recipe = make_recipe(metric=metric)
        seeds = sorted({seed for of_one in scores.values() for seed in of_one})
        made = comparison_of(
            "confirm", dict.fromkeys(scores, recipe), seeds, SearchSettings(), search_scores=search_scores
        )
        layout = RunLayout(root)
        layout.root.mkdir()
        layout.config.write_text(made.to_yaml())
        pairs = [(name, seed) for seed in seeds for name in scores if seed in scores[name]]
        for number, (name, seed) in enumerate(pairs):
            score = scores[name][seed]
            status = TrialStatus.FAILED if score is None else TrialStatus.FINISHED
            at = None if test is None else test[name][seed]
            params = {"candidate": name, "train.seed": seed}
            write_trial(layout, number, params, score, status=status, test=at, reason=(score is None and "nan") or None)
        return load(root)

    return write


# --- what is said ---------------------------------------------------------------------------------------------------


def test_a_real_lead_is_told_from_luck(write_comparison):
    found = load_comparison(write_comparison({"a": {1: 0.80, 2: 0.84, 3: 0.82}, "b": {1: 0.70, 2: 0.75, 3: 0.72}}))
    said = " ".join(verdict(found))
    assert "a is best: balanced_accuracy 0.8200 ± 0.0200 over 3 seeds." in said
    assert "It is reliably better than b: by 0.0967, 95% interval" in said


def test_what_cannot_be_told_apart_is_said_with_the_cheaper_one(write_comparison):
    found = load_comparison(write_comparison({"a": {1: 0.80, 2: 0.84, 3: 0.79}, "b": {1: 0.82, 2: 0.80, 3: 0.80}}))
    said = " ".join(verdict(found))
    assert "not reliably better than b: 0.0033 on average" in said
    assert "seeds would settle it" in said
    assert "is the cheaper one (2 s and 2 s of training)" in said


def test_a_single_candidate_is_best_of_nothing(write_comparison):
    (alone, *_) = verdict(load_comparison(write_comparison({"a": {1: 0.79, 2: 0.81}})))
    assert alone == "a has balanced_accuracy 0.8000 ± 0.0141 over 2 seeds."


def test_equal_candidates_are_called_equal(write_comparison):
    found = load_comparison(write_comparison({"a": {1: 0.8}, "b": {1: 0.8}}))
    assert "It has the same score as b with one common seed: more seeds are needed to be sure." in verdict(found)


@pytest.mark.parametrize(
    ("search_scores", "words"),
    [
        (0.9, "Its score in the search was 0.9000: 0.1000 of that was luck (the winner's curse)"),
        (0.79, "at least as good as its score in the search (0.7900)"),
    ],
)
def test_a_promise_is_held_against_the_mean(write_comparison, search_scores, words):
    found = load_comparison(write_comparison({"a": {1: 0.79, 2: 0.81}}, search_scores={"a": search_scores}))
    assert words in " ".join(verdict(found))


def test_a_smaller_loss_is_better(write_comparison):
    scores = {"a": {1: 0.5, 2: 0.52}, "b": {1: 0.4, 2: 0.42}}
    found = load_comparison(write_comparison(scores, metric="val_loss", search_scores={"b": 0.35}))
    assert [candidate.name for candidate in found.scored] == ["b", "a"]
    assert found.advantage(found.scored[0], found.scored[1]).mean == pytest.approx(0.1)
    assert "0.0600 of that was luck" in " ".join(verdict(found))


def test_runs_that_failed_count_for_nothing_and_are_said(write_comparison):
    found = load_comparison(write_comparison({"a": {1: 0.8, 2: None}, "b": {1: 0.7, 2: 0.9}}))
    assert dict(found.candidates[0].failed) == {2: "nan"}
    assert [candidate.name for candidate in found.scored] == ["a", "b"]  # 0.8 and 0.8: in the order given
    assert "a: 1 seed gave no score." in verdict(found)


def test_nothing_is_confirmed_where_all_failed(write_comparison):
    found = load_comparison(write_comparison({"a": {1: None}}))
    assert verdict(found) == ["No run has a score: nothing is confirmed."]


def test_the_test_split_is_told_beside(write_comparison):
    run = write_comparison({"a": {1: 0.8, 2: 0.9}}, test={"a": {1: 0.7, 2: 0.72}})
    found = load_comparison(run)
    assert "On the test split, which no choice was based on: 0.7100 ± 0.0141." in verdict(found)
    assert comparison_table(found)["test"].tolist() == pytest.approx([0.71])


def test_an_ablation_is_told_against_its_baseline_in_the_order_given(write_comparison):
    found = load_comparison(
        write_comparison({"baseline": {1: 0.7, 2: 0.72}, "x": {1: 0.8, 2: 0.81}, "y": {1: 0.6, 2: 0.63}})
    )
    table = comparison_table(found, baseline=found.candidates[0])
    assert table["candidate"].tolist() == ["baseline", "x", "y"]
    assert table["advantage"].tolist()[1:] == pytest.approx([0.095, -0.095])
    assert table["advantage"].isna().tolist() == [True, False, False]


def test_a_table_for_the_terminal_has_what_is_known(write_comparison):
    from rich.console import Console

    found = load_comparison(
        write_comparison({"a": {1: 0.8, 2: 0.9}, "b": {1: 0.7, 2: None}}, search_scores={"a": 0.95})
    )
    console = Console(width=120, record=True)
    console.print(render_comparison(comparison_table(found), found.metric))
    text = console.export_text()
    assert "0.8500 ± 0.0707" in text
    assert "1 + 1 failed" in text
    assert "0.9500" in text
    assert "test" not in text


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize(
    "name", ["b", "all changes together", "a candidate whose name is longer than its column may be"]
)
def test_a_table_for_the_terminal_names_what_has_no_room(write_comparison, width, name):
    from rich.console import Console

    scores = {"baseline": {1: 0.8, 2: 0.9}, name: {1: 0.7, 2: None}}
    test = {"baseline": {1: 0.7, 2: 0.72}, name: {1: 0.6, 2: None}}
    found = load_comparison(write_comparison(scores, test=test, search_scores={"baseline": 0.95}))
    table = comparison_table(found, baseline=found.candidates[0])
    console = Console(width=width, record=True)
    console.print(render_comparison(table, found.metric, width=width))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "…" not in text.replace(" … ", "")
    assert all(word in text for word in name.split())
    for heading, cell in (("validation", "0.8500 ± 0.0707"), ("test", "0.7100 ± 0.0141"), ("in the search", "0.9500")):
        assert (cell in text) != (heading in text.partition("no room for ")[2])


# --- what is trained ------------------------------------------------------------------------------------------------


def test_every_candidate_is_trained_with_every_seed_seed_by_seed(make_recipe):
    made = comparison_of("c", {"a": make_recipe(), "b": make_recipe(batch_size=8)}, [5, 7], SearchSettings())
    trials = [made.values_of(type("Trial", (), {"number": n})) for n in range(made.settings.trials)]
    assert [(t["candidate"], t["train.seed"]) for t in trials] == [("a", 5), ("b", 5), ("a", 7), ("b", 7)]
    recipe = made.recipe_of(trials[3])
    assert (recipe.train.batch_size, recipe.train.seed) == (8, 7)
    assert made.settings.scheduler.kind == "none"


def test_seeds_are_those_that_nothing_was_chosen_by(make_recipe):
    assert fresh_seeds([make_recipe(seed=0), make_recipe(seed=2)], 3) == [1, 3, 4]


@pytest.fixture
def search_run(tmp_path):
    """A search with three finished trials and a pruned one that is better than all."""
    layout = RunLayout(tmp_path / "s")
    layout.root.mkdir()
    config = {**RECIPE, "space": {"train.stages[0].head_lr": {"log": [0.01, 0.1]}}}
    layout.config.write_text(yaml.safe_dump(config))
    for number, score in enumerate([0.5, 0.7, 0.6]):
        recipe = with_values(RECIPE, {"train.stages[0].head_lr": 0.02 + number / 100})
        write_trial(layout, number, {"train.stages[0].head_lr": 0.02 + number / 100}, score, recipe=recipe)
    write_trial(layout, 3, {"train.stages[0].head_lr": 0.02}, 0.9, status=TrialStatus.PRUNED)
    return load(layout.root)


def test_the_best_finished_trials_are_confirmed(search_run):
    made, _ = confirmation(search_run, SearchSettings(max_concurrent=3), top=2, seeds=4)
    assert list(made.candidates) == ["trial 1", "trial 2"]
    assert made.search_scores == {"trial 1": 0.7, "trial 2": 0.6}
    assert (made.seeds, made.settings.trials, made.settings.max_concurrent) == ((1, 2, 3, 4), 8, 3)
    assert made.reads_test


def test_trials_with_the_same_recipe_are_one_candidate(search_run):
    layout = search_run.layout
    for number, path in ((4, "train.seed"), (5, "train.batch_size")):
        recipe = with_values(RECIPE, {"train.stages[0].head_lr": 0.03, path: 9})
        write_trial(layout, number, {path: 9}, 0.65, recipe=recipe)
    made, same = confirmation(load(layout.root), SearchSettings(), top=3, seeds=2)
    assert list(made.candidates) == ["trial 1", "trial 5", "trial 2"]
    assert same == {1: [4]}


def test_a_search_without_a_finished_trial_has_nothing_to_confirm(search_run):
    for number in range(3):
        folder = search_run.folder(number)
        TrialRecord(number=number, params={}, status=TrialStatus.RUNNING, started=now()).write(folder)
    with pytest.raises(RunError, match="'s' has no finished trial with a score: there is nothing to confirm"):
        confirmation(search_run, SearchSettings(), top=2, seeds=4)


def test_a_confirmation_counts_when_it_is_through(search_run, write_comparison):
    assert confirmation_of(search_run) is None
    root = search_run.layout.confirmation
    write_comparison({"trial 1": {1: 0.5, 2: 0.6}, "trial 2": {1: 0.7}}, root=root)
    assert confirmation_of(search_run) is None  # one run is missing
    write_comparison({"trial 2": {1: 0.7}}, root=root.with_name("confirm-20260101-000000"))
    assert [candidate.name for candidate in confirmation_of(search_run).scored] == ["trial 2"]


def test_a_search_is_no_comparison(search_run):
    with pytest.raises(RunError, match="'s' is a search, not a comparison"):
        load_comparison(search_run)


def test_a_comparison_is_no_search(write_comparison):
    source = read_source(write_comparison({"a": {1: 0.5}}).layout.config)
    with pytest.raises(
        InputError, match="belongs to a comparison: the same `thaw confirm` or `thaw ablate` command resumes"
    ):
        load_search(source)


# --- ablation -------------------------------------------------------------------------------------------------------


def ablate(tmp_path, changes, **values):
    config = copy.deepcopy(RECIPE) | {"ablate": {"changes": changes} | values}
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    source = read_source(file)
    recipe, settings = load_ablated(source)
    return ablation(source, recipe, settings, name="a-ablate", seeds=None)


def test_each_change_alone_and_all_together(tmp_path):
    changes = {"batches": {"train.batch_size": 8}, "average": {"train.ema": {"decay": 0.9}}}
    made = ablate(tmp_path, changes, seeds=2)
    assert list(made.candidates) == ["baseline", "batches", "average", "all together"]
    recipes = made.candidates
    assert [recipe.train.batch_size for recipe in recipes.values()] == [16, 8, 16, 8]
    assert [recipe.train.ema is not None for recipe in recipes.values()] == [False, False, True, True]
    assert (made.seeds, made.settings.trials, made.reads_test) == ((0, 1), 8, False)


def test_one_change_is_all_there_is(tmp_path):
    assert list(ablate(tmp_path, {"batches": {"train.batch_size": 8}}).candidates) == ["baseline", "batches"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "ablate.changes: .*at least 1"),
        ({"x": {"train.batch_sise": 8}}, "a.yaml:[0-9]+ ablate.changes.x: .*batch_sise.*did you mean 'batch_size'"),
        ({"x": {"train.batch_size": 16}}, "ablate.changes.x: changes nothing: the recipe already has these values"),
        ({"baseline": {"train.batch_size": 8}}, "ablate.changes.baseline: is a reserved name"),
        (
            {"x": {"train.batch_size": 8}, "y": {"train.batch_size": 4}},
            "ablate.changes.y.train.batch_size: sets 4 where 'x' sets 8: they cannot be tried together",
        ),
        (
            {
                "x": {"train.loss": {"kind": "ldam"}, "train.drw": {"start_fraction": 0.5}},
                "y": {"train.balance": "sampler"},
            },
            "all changes together: .*drw and balance 'sampler' would correct the imbalance twice",
        ),
        ({"x": {"train.stages[7].head_lr": 0.1}}, r"ablate.changes.x: train.stages has no item \[7\]"),
    ],
)
def test_a_change_that_cannot_be_is_said_with_its_place(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        ablate(tmp_path, changes)


def test_a_file_without_changes_is_told_how_to_write_them(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(RECIPE))
    source = read_source(file)
    with pytest.raises(InputError, match=r"a.yaml:1 ablate: is required: `changes`, with a name for each"):
        ablation(source, *load_ablated(source), name="x", seeds=None)


def test_editors_know_of_it():
    assert "ablate" in json_schema()["properties"]


def test_a_file_may_be_searched_and_ablated(tmp_path):
    config = RECIPE | {
        "space": {"train.batch_size": {"choice": [8, 16]}},
        "ablate": {"changes": {"x": {"train.batch_size": 8}}},
    }
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(config))
    assert load_search(read_source(tmp_path / "both.yaml")).name == "both"


# --- export ---------------------------------------------------------------------------------------------------------


def test_the_best_mean_is_exported_and_not_the_best_score(search_run, write_comparison):
    with pytest.raises(RunError, match="run 's' is not confirmed: run `thaw confirm s` first"):
        best_confirmed(search_run)
    scores = {"trial 1": {1: 0.5, 2: 0.6}, "trial 2": {1: 0.6, 2: 0.7}}
    write_comparison(scores, root=search_run.layout.confirmation)
    choice = best_confirmed(search_run)
    assert choice.trial == 2
    assert choice.why == "the best of 2 confirmed trials: balanced_accuracy 0.6500 ± 0.0707 over 2 seeds"
    assert trial_config(search_run, trial=choice)["provenance"]["chosen"] == choice.why


def test_only_one_rule_chooses(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["thaw", "export", "s", "--confirmed", "--trial", "3"])
    with pytest.raises(SystemExit):
        main()
    assert "--trial, --within and --confirmed each choose the trial; give only one of them" in capsys.readouterr().err


def test_a_comparison_is_resumed_although_its_file_is_older_than_a_setting(make_recipe):
    recipe = make_recipe()
    comparison = comparison_of("mine", {"a": recipe}, [1, 2], SearchSettings(wandb="pets", max_retries=1))
    text = comparison.renamed("mine").to_yaml()
    assert comparison.settings.wandb == "pets"
    older = comparison_of("mine", {"a": recipe}, [1, 2], SearchSettings(max_retries=1))
    lines = older.to_yaml().splitlines(keepends=True)
    without = "".join(line for line in lines if "wandb:" not in line and "accumulate:" not in line)
    assert len(without.splitlines()) < len(lines) - 1
    assert older.is_that_of(without)
    assert not older.is_that_of(text)
    assert not older.is_that_of("other: 1")
    assert not comparison_of("mine", {"a": recipe}, [1, 3], SearchSettings(max_retries=1)).is_that_of(without)
