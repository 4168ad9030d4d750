"""`search.stop`: when a search has had enough, reckoned from what is on disk."""

import json
import re

import pytest
from optuna.trial import TrialState
from pydantic import ValidationError

from search.config.stop import Stop
from search.launch import budget as budget_module
from search.launch.budget import Budget, BudgetCallback, BudgetStopper, reached
from search.launch.failed_trials import SameFailure
from search.tuning.study import end_running
from tests.support import driven_search
from tests.support.driven_search import Search
from trainables.core.vocabulary import Metric
from trainables.run_folder.layout import RunFileError

make_config = driven_search.make_config  # a fixture

HOUR = 3600.0


@pytest.mark.parametrize(
    ("stop", "spent", "scores", "said"),
    [
        pytest.param({}, {"wall_s": 1e9, "trial_s": 1e9}, [0.5, 0.4], None, id="none is set"),
        pytest.param({"hours": 8}, {"wall_s": 8 * HOUR - 1}, [], None, id="not yet"),
        pytest.param({"hours": 8}, {"wall_s": 8 * HOUR}, [], "8 hours have passed", id="hours"),
        pytest.param({"score": 0.9}, {}, [0.8, None, 0.89], None, id="not good enough"),
        pytest.param({"score": 0.9}, {}, [0.8, 0.9, 0.1], "a trial scored 0.9, and the target was 0.9", id="score"),
        pytest.param({"no_improvement": 2}, {}, [0.8, 0.9, 0.5], None, id="one without"),
        pytest.param(
            {"no_improvement": 2}, {}, [0.8, 0.9, None, 0.9], "2 trials ended without .* 0.9", id="two without"
        ),
        pytest.param({"no_improvement": 2}, {}, [0.8, 0.7, 0.81, 0.2], None, id="counted anew"),
        pytest.param({"no_improvement": 2}, {}, [None, None, None], None, id="nothing to improve on"),
        pytest.param({"cost": 10, "price_per_trial_hour": 2}, {"trial_s": 4.9 * HOUR}, [], None, id="cheap"),
        pytest.param(
            {"cost": 10, "price_per_trial_hour": 2}, {"trial_s": 5.1 * HOUR}, [], "cost 10.20 of 10", id="cost"
        ),
    ],
)
def test_the_first_budget_that_is_reached_is_named(stop, spent, scores, said):
    found = reached(Stop(**stop), **{"wall_s": 0.0, "trial_s": 0.0} | spent, scores=scores, metric=Metric.KAPPA)
    assert (found is None) == (said is None)
    assert re.search(said or "None", str(found))


@pytest.mark.parametrize(("scores", "over"), [([0.4, 0.5], False), ([0.4, 0.29], True)])
def test_less_is_better_where_the_metric_says_so(scores, over):
    found = reached(Stop(score=0.3), wall_s=0, trial_s=0, scores=scores, metric=Metric.VAL_LOSS)
    assert (found is not None) == over


@pytest.mark.parametrize("stop", [{"cost": 5}, {"price_per_trial_hour": 5}])
def test_a_cost_needs_a_price(stop):
    with pytest.raises(ValidationError, match="cost and price_per_trial_hour need each other"):
        Stop(**stop)


@pytest.mark.parametrize("stop", [{"hours": 0}, {"no_improvement": 0}, {"cost": -1, "price_per_trial_hour": 1}])
def test_a_budget_of_nothing_is_refused(stop):
    with pytest.raises(ValidationError, match=next(iter(stop))):
        Stop(**stop)


@pytest.fixture
def make_search(tmp_path, make_config):
    """`make_search(**stop)`: a run with a budget, and who owns it."""

    def make(**stop):
        search = Search(tmp_path / "run", make_config(trials=10, stop=stop))
        search.layout.config.touch()
        return search

    return make


def test_time_counts_over_kills(make_search, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(budget_module.time, "monotonic", lambda: now[0])
    search = make_search(hours=1)
    for _ in range(2):  # killed twice: nothing is told to anybody
        first = Budget(search.config, search.layout, search.study)
        for _ in range(10):
            now[0] += 170
            assert BudgetStopper(first, SameFailure()).stop_all() is False
        now[0] += 10_000  # nobody runs it
    last = Budget(search.config, search.layout, search.study)
    assert json.loads(search.layout.spent.read_text())["wall_s"] == 3400
    now[0] += 199
    assert not BudgetStopper(last, SameFailure()).stop_all()
    now[0] += 2
    assert BudgetStopper(last, SameFailure()).stop_all()
    assert Budget(search.config, search.layout, search.study).reached == "1 hours have passed"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"wall_s": null}', '{"s": 1}'])
def test_a_damaged_count_of_hours_is_one_message(make_search, content):
    search = make_search(hours=1)
    search.layout.spent.write_text(content)
    with pytest.raises(RunFileError, match=r"spent.json is damaged; remove it, and search.stop counts"):
        Budget(search.config, search.layout, search.study)


def test_trials_that_ended_are_looked_at_before_the_next_one_starts(make_search):
    search = make_search(score=0.75)
    budget = Budget(search.config, search.layout, search.study)
    for trial, score in (("a", 0.7), ("b", 0.8)):
        assert search.suggest(trial)
        search.run(trial, [0.1, score])
        BudgetCallback(budget).on_trial_complete()
        assert BudgetStopper(budget, SameFailure()).stop_all() is (score > 0.75)
    assert Budget(search.config, search.layout, search.study).reached == budget.reached


def test_what_trials_trained_costs_also_after_a_kill(make_search):
    search = make_search(cost=1, price_per_trial_hour=60)  # a minute of training
    search.suggest("a")
    line = {
        "stage": "head",
        "stage_index": 0,
        "score": 0.5,
        "best_score": 0.5,
        "best_epoch": 1,
        "flags": [],
        "time": "",
    }
    report = line | {"epoch": 1, "train_s": 30.0, "val_s": 10.0}
    search.layout.trial(0).epochs.write_text(json.dumps(report) + "\n")
    budget = Budget(search.config, search.layout, search.study)
    assert budget.reached is None
    BudgetStopper(budget, SameFailure())("a", {"reports": [report | {"epoch": 2, "val_s": 0.0}]})
    assert BudgetStopper(budget, SameFailure()).stop_all()


def test_trials_that_a_budget_cut_off_are_pruned_and_say_so(make_search):
    search = make_search(hours=1)
    search.suggest("done")
    search.run("done", [0.5])
    search.suggest("cut")
    search.suggest("not begun")
    search.study.ask()  # and one that was never recorded
    line = {"stage": "head", "stage_index": 0, "best_epoch": 1, "flags": [], "time": "", "train_s": 1.0}
    reports = [line | {"epoch": epoch, "score": 0.3, "best_score": 0.3} for epoch in (1, 2)]
    search.layout.trial(1).epochs.write_text("".join(json.dumps(report) + "\n" for report in reports))
    end_running(search.study, search.layout, search.config, "budget: 1 hours have passed")
    states = [trial.state for trial in search.trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED, TrialState.PRUNED]
    assert search.trials[1].intermediate_values == {1: 0.3, 2: 0.3}
    for number in (1, 2):
        assert (search.record(number).status, search.record(number).reason) == ("pruned", "budget: 1 hours have passed")
        assert search.record(number).ended
