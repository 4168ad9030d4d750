"""Several objectives and constraints: what the study, the record and the best trial make of them; what a network costs."""

import pytest
import torch
import yaml
from optuna.trial import TrialState
from torch import nn

from results_analysis import load
from results_analysis.export.best_config import best_trial
from search.config.yaml_source import read_source
from search.config_file.load import load_search
from search.tuning.study import report_recorded_ends
from tests.support.driven_search import Search, write_epochs
from tests.support.recipes import RECIPE
from trainables.core.vocabulary import Metric, TrialStatus, mode_of_objective
from trainables.run_folder.layout import RunLayout
from trainables.trial.network_costs import multiply_adds, network_costs
from trainables.trial.objectives import objectives_of
from trainables.trial.tune_trainable import StagedUnfreezing

SPACE = {"train.batch_size": {"int": [8, 64]}}


@pytest.fixture
def make(tmp_path):
    """`make(**search)`: a search with these settings, in a folder."""

    def made(**search):
        settings = {"trials": 12, "scheduler": {"kind": "none"}, **search}
        file = tmp_path / "small.yaml"
        file.write_text(yaml.safe_dump({**RECIPE, "space": SPACE, "search": settings}))
        config = load_search(read_source(file))
        search = Search(tmp_path / "run", config)
        search.layout.config.write_text(config.to_yaml())
        return search

    return made


# --- objectives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nsga2", "tpe", "gp", "random"])
def test_a_search_for_several_objectives_tells_the_study_all_of_them(make, kind):
    settings = {"nsga2": {"population": 4}, "tpe": {"startup_trials": 4}, "gp": {"startup_trials": 4}, "random": {}}
    search = make(objectives=["score", "macs", "kappa"], sampler={"kind": kind, **settings[kind]})
    assert [direction.name for direction in search.study.directions] == ["MAXIMIZE", "MINIMIZE", "MAXIMIZE"]
    for number in range(6):
        assert search.suggest(str(number))["objectives"] == ["score", "macs", "kappa"]
        search.run(str(number), [0.1, 0.2], finished=number != 5, macs=1e6 + number, kappa=0.3)
    assert [trial.values for trial in search.trials[:5]] == [[0.2, 1e6 + number, 0.3] for number in range(5)]
    assert search.trials[5].state is TrialState.PRUNED
    assert search.trials[0].intermediate_values == {}
    assert search.record(0).objectives == {"score": 0.2, "macs": 1e6, "kappa": 0.3}
    search.suggest("cut off")
    search.take_up()
    assert search.suggest("again")["number"] == 6


def test_one_objective_is_recorded_too(make):
    search = make()
    search.suggest("a")
    search.run("a", [0.1, 0.2])
    assert search.record(0).objectives == {"score": 0.2}
    assert search.suggest("b")["objectives"] == ["score"]


def test_a_trial_whose_best_epoch_lacks_an_objective_failed(make):
    search = make(objectives=["score", "auc"])
    search.suggest("a")
    search.run("a", [0.2], auc=None)
    assert (search.states, search.record(0).reason) == (["FAIL"], "its best epoch has no auc")


def test_an_end_with_several_objectives_that_was_recorded_but_not_told_is_told_later(make):
    search = make(objectives=["score", "macs"])
    search.suggest("a")
    folder = search.layout.trial(0)
    write_epochs(folder, [0.5], finished=True)
    ended = {"status": TrialStatus.FINISHED, "objectives": {"score": 0.5, "macs": 7.0}}
    search.record(0).model_copy(update=ended).write(folder)
    search.take_up()
    assert (search.states, search.trials[0].values) == (["COMPLETE"], [0.5, 7.0])


@pytest.mark.parametrize(
    ("name", "metric", "mode"),
    [
        ("score", Metric.KAPPA, "max"),
        ("score", Metric.VAL_LOSS, "min"),
        ("macs", Metric.KAPPA, "min"),
        ("parameters", Metric.KAPPA, "min"),
        ("train_s", Metric.KAPPA, "min"),
        ("auc", Metric.VAL_LOSS, "max"),
        ("mae", Metric.KAPPA, "min"),
    ],
)
def test_costs_are_to_be_low_and_metrics_know_themselves(name, metric, mode):
    assert mode_of_objective(name, metric) == mode


# --- constraints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "macs", "excess", "said"),
    [
        ({"max": 100}, 101, 1, "macs is 101 (at most 100)"),
        ({"min": 100}, 98, 2, "macs is 98 (at least 100)"),
        ({"min": 10, "max": 20}, 25, 5, "macs is 25 (at least 10, at most 20)"),
        ({"max": 100}, 100, 0, None),
        ({"min": 10, "max": 20}, 15, -5, None),
    ],
)
def test_what_breaks_a_constraint_is_infeasible_and_says_how(make, bound, macs, excess, said):
    search = make(constraints={"macs": bound})
    search.suggest("a")
    search.run("a", [0.2], macs=macs)
    (trial,) = search.trials
    assert trial.constraints == {"macs": excess}
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.2)
    record = search.record(0)
    assert (record.status, record.reason) == (TrialStatus.INFEASIBLE if said else TrialStatus.FINISHED, said)


@pytest.mark.parametrize("finished", [True, False])
def test_an_infeasible_trial_is_never_the_best(make, finished):
    search = make(constraints={"macs": {"max": 100}})
    for number, (trial_id, score, macs) in enumerate((("a", 0.3, 50), ("b", 0.9, 200), ("c", 0.4, 60))):
        search.suggest(trial_id)
        write_epochs(search.layout.trial(number), [score], finished=finished)
        search.run(trial_id, [score], finished=finished, macs=macs)
    assert search.record(1).status is TrialStatus.INFEASIBLE
    assert search.trials[1].state is (TrialState.COMPLETE if finished else TrialState.PRUNED)
    assert best_trial(load(search.layout.root)) == 2


@pytest.mark.parametrize("finished", [True, False])
def test_an_infeasible_end_that_was_recorded_but_not_told_is_told_later(make, finished):
    search = make(constraints={"macs": {"max": 100}})
    search.suggest("a")
    folder = search.layout.trial(0)
    write_epochs(folder, [0.5], finished=finished)
    ended = {"status": TrialStatus.INFEASIBLE, "objectives": {"score": 0.5, "macs": 700.0}}
    search.record(0).model_copy(update=ended).write(folder)
    report_recorded_ends(search.study, search.layout, search.config)
    (trial,) = search.trials
    assert (trial.state.name, trial.constraints) == ("COMPLETE" if finished else "PRUNED", {"macs": 600.0})


@pytest.mark.parametrize("kind", ["tpe", "gp", "nsga2", "cma_es"])
def test_samplers_stay_within_constraints_once_they_know_them(make, kind):
    settings = {"startup_trials": 5} if kind in {"tpe", "gp"} else {"population": 5}
    search = make(constraints={"macs": {"max": 24}}, trials=24, sampler={"kind": kind, **settings})
    sizes = []
    for number in range(24):
        search.suggest(str(number))
        sizes.append(search.record(number).params["train.batch_size"])
        search.run(str(number), [sizes[-1] / 64], macs=sizes[-1])
    assert sum(size <= 30 for size in sizes[-8:]) >= 4


# --- costs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "shape", "expected"),
    [
        (nn.Linear(10, 4), (1, 10), 40),
        (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 5, 5), 3 * 8 * 9 * 25),
        (nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), (1, 8, 6, 6), 8 * 9 * 9),
        (nn.Conv3d(1, 2, 3, padding=1), (1, 1, 4, 4, 4), 2 * 27 * 64),
    ],
)
def test_multiply_adds_are_counted_as_people_count_them(network, shape, expected):
    assert multiply_adds(network, torch.zeros(shape)) == expected
    assert not network.training


def counted_layer_by_layer(network, image):
    """Of convolutions and linear layers: each output is a sum of as many products as one of its weights has numbers."""
    counts = []

    def count(layer, _inputs, output):
        counts.append(output.numel() * layer.weight[0].numel())

    hooks = [
        layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    network.eval()(image)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def test_a_trials_results_tell_what_it_came_to(tmp_path, make_recipe):
    layout = RunLayout(tmp_path / "run")
    layout.root.mkdir()
    layout.attempt.write_text("1")
    recipe = make_recipe()
    shared = {"run": str(layout.root), "attempt": 1, "trials": 1, "rungs": {}, "reads_test": False, "number": 0}
    names = ["score", "macs", "parameters", "train_s", "kappa"]
    worker = StagedUnfreezing({**shared, "recipe": recipe.model_dump_json(), "objectives": names})
    result = worker.step()
    while not result["done"]:
        result = worker.step()
    came_to, reports = dict(zip(names, result["objectives"], strict=True)), worker._run.reports
    best = max(reports, key=lambda report: report["score"])
    assert (came_to["score"], came_to["kappa"]) == (best["score"], best["kappa"])
    assert came_to["train_s"] == pytest.approx(sum(report["train_s"] for report in reports))
    assert came_to["parameters"] == sum(p.numel() for p in worker._run.trainer.model.parameters())
    assert came_to["macs"] == counted_layer_by_layer(worker._run.trainer.model, torch.zeros(1, 3, 32, 32))


def test_the_network_is_not_run_for_what_it_does_not_say(make_recipe):
    assert network_costs(None, ["score", "train_s", "kappa"]) == {}


def test_what_the_best_epoch_has_no_number_for_is_none():
    reports = [{"epoch": 1, "best_epoch": 1, "best_score": 0.5, "train_s": 1.5, "auc": None}]
    assert objectives_of(["score", "auc", "train_s", "macs"], reports, {}) == [0.5, None, 1.5, None]
