"""Conclusions of a search, in words: each sentence where its numbers call for it, and nowhere else."""

import json

import pandas as pd
import pytest

from results_analysis import load
from results_analysis.findings.conclusions import conclusions
from results_analysis.findings.finding import Evidence, Topic
from results_analysis.statistics.importance import COLUMNS, importances
from results_analysis.tables.run_snapshot import take_snapshot
from tests.support.recipes import RECIPE
from tests.support.searched_runs import searched_trials, write_search
from trainables.core.dotted_paths import with_values
from trainables.core.vocabulary import Metric

LR = "train.stages[*].head_lr"
LOSS = "train.loss.kind"


NONE = pd.DataFrame(columns=list(COLUMNS))


@pytest.fixture
def said(tmp_path):
    """`said(trials)`: the texts of a run's conclusions, by topic, and its commands; `importance=None`: computed."""

    def say(trials, *, importance=NONE, **config):
        snapshot = take_snapshot(load(write_search(tmp_path / "run", trials, **config)))
        frame = importances(snapshot) if importance is None else importance
        return Said(conclusions(Evidence(snapshot, frame, "digits")))

    return say


class Said:
    def __init__(self, found):
        self.found = found

    def __call__(self, topic):
        return " ".join(c.text for c in self.found if c.topic is topic)

    def commands(self, topic):
        return [c.command for c in self.found if c.topic is topic and c.command]


def scored(*scores, **changes):
    """Finished trials, all of one epoch."""
    return [{"scores": [score], **changes} for score in scores]


# --- best and how sure ----------------------------------------------------------------------------------------------


def test_the_best_is_named_with_how_far_it_is_ahead(said):
    found = said(scored(0.5, 0.75, 0.25, 0.7))
    assert "Trial 1 has the best balanced accuracy, 0.7500, in epoch 1 of 1 (best of 4 finished trials)." in found(
        Topic.BEST
    )
    assert "0.0500 better than the second best, trial 3 (0.7000), and 0.1500 better than the median of the 4" in found(
        Topic.BEST
    )
    assert found.commands(Topic.BEST) == ["thaw export digits"]


def test_of_a_loss_less_is_ahead(said):
    found = said(scored(0.5, 0.25), metric=Metric.VAL_LOSS)
    assert "Trial 1 has the best validation loss, 0.2500" in found(Topic.BEST)
    assert "0.2500 better than the second best, trial 0 (0.5000)." in found(Topic.BEST)


def test_a_tie_is_called_one(said):
    found = said(scored(0.7, 0.75, 0.75, 0.75))
    assert "It shares this score with trials 2, 3; of equal trials the one with the lowest number counts" in found(
        Topic.BEST
    )
    assert "0.0000" not in found(Topic.BEST)
    assert "uncertain: the best two have the same score, and" in found(Topic.SURE)


def test_a_small_lead_is_not_0(said):
    found = said(scored(0.75, 0.75001))
    assert "It is less than 0.0001 better than the second best, trial 0 (0.7500)." in found(Topic.BEST)


@pytest.mark.parametrize(
    ("trials", "text"),
    [
        ([], "The search has no trials yet."),
        (
            [{"status": "failed"}, {"status": "running"}],
            "No trial has a score yet (1 failed, 1 running), so there is no best trial.",
        ),
        (scored(0.5), "It is the only finished trial."),
        (scored(0.5, status="pruned"), "No trial has finished yet; this one is pruned."),
    ],
)
def test_where_there_is_little_to_choose_from_that_is_said(said, trials, text):
    assert text in said(trials)(Topic.BEST)


def test_a_small_gap_is_not_to_be_trusted_and_calls_for_confirmation(said):
    found = said(scored(0.80, 0.79, 0.78, 0.3))
    assert "(95% interval, bootstrap over 120 validation images)" in found(Topic.SURE)
    assert "The order at the top is uncertain" in found(Topic.SURE)
    assert "3 trials could well be the best" in found(Topic.SURE)
    assert "looks better than it is, here by about 0.0298" in found(Topic.SURE)
    assert found.commands(Topic.SURE) == ["thaw confirm digits --top 3 --seeds 5"]


def test_a_wide_gap_is_said_to_be_one(said):
    found = said(scored(0.9, 0.5, 0.4))
    assert "larger than other validation images would explain" in found(Topic.SURE)
    assert found.commands(Topic.SURE) == []


def test_more_images_make_it_surer(said, tmp_path):
    few = said(scored(0.80, 0.77))
    many = Said(
        conclusions(
            Evidence(
                take_snapshot(load(write_search(tmp_path / "many", scored(0.80, 0.77, images=4000)))),
                NONE,
                "digits",
            )
        )
    )
    assert "The order at the top is uncertain" in few(Topic.SURE)
    assert "larger than other validation images would explain" in many(Topic.SURE)


def test_what_the_reports_cannot_tell_is_said(said):
    found = said(scored(0.5, 0.6), metric=Metric.MAE, task="regression")
    assert "How much MAE would change with other validation images is unknown" in found(Topic.SURE)


@pytest.mark.parametrize(
    ("own_trial", "text"),
    [
        (
            {LR: 0.01, LOSS: "ldam"},
            "Trial 1 used the search file's own values and scored 0.6000, so searching gained 0.2000.",
        ),
        ({LR: 0.012, LOSS: "ldam"}, "Trial 1 used values close to the search file's own and scored 0.6000"),
        (
            {LR: 0.001, LOSS: "cross_entropy"},
            "unknown, because no finished trial used values close to them.",
        ),
    ],
)
def test_the_gain_over_the_files_own_values_is_told_where_a_trial_had_them(said, own_trial, text):
    trials = [{"scores": [0.8], "params": {LR: 0.09, LOSS: "cross_entropy"}}, {"scores": [0.6], "params": own_trial}]
    assert text in said(trials)(Topic.BEST)


# --- what mattered, what was flagged --------------------------------------------------------------------------------


def test_what_mattered_is_named_with_its_share_and_where_good_trials_have_it(said):
    found = said(searched_trials(60), importance=None)(Topic.MATTERED)
    assert "Searched values that set the best trials apart, by more than chance explains: head_lr (" in found
    assert "head_lr: mostly 0.0" in found


@pytest.mark.parametrize(
    ("trials", "text"),
    [
        (scored(0.5, 0.6), "Nothing was searched"),
        (
            [{**trial, "scores": trial["scores"][:1]} for trial in searched_trials(3)],
            "Too few trials can be compared (3)",
        ),
    ],
)
def test_where_nothing_can_be_told_of_importance_that_is_said(said, trials, text):
    assert text in said(trials)(Topic.MATTERED)


def test_flags_are_counted_and_the_value_that_goes_with_them_is_named(said):
    found = said(searched_trials(40))(Topic.FLAGGED)
    assert "Loss far above its recent level (spike): trials 2, 19, 32, 39 (4 of 40 trials)" in found
    assert "these trials tend to have a high head_lr (median 0.07" in found


def test_a_flag_that_ended_trials_and_one_of_the_best_epoch_are_told(said):
    trials = [{"scores": [0.5], "flags": {1: ["gap"]}}]
    trials += [{"scores": [0.1], "flags": {1: ["nan"]}, "status": "pruned", "stopped_for": "nan"}]
    found = said(trials)(Topic.FLAGGED)
    assert "Loss not a number (nan): trial 1 (1 of 2 trials); 1 stopped for it." in found
    assert "The best epoch of the best trial was flagged: gap." in found


def test_no_flag_is_good_news(said):
    assert "No epoch of any trial was flagged." in said(scored(0.5))(Topic.FLAGGED)


def test_failures_are_told_with_their_commonest_reasons(said):
    trials = [{"status": "failed", "reason": "Traceback …\n  File x\nRuntimeError: out of memory"}] * 3
    found = said([*trials, {"status": "failed", "reason": None}, *scored(0.5)])(Topic.FLAGGED)
    assert "Trials 0, 1, 2, 3 failed: RuntimeError: out of memory (3×); no reason recorded." in found


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"classes": ("only",)}, "The data has only one class"),
        (
            {"recalls": [40, 40, 10]},
            "weakest on class owl: recall 0.25 (0.14 … 0.40, 40 images), compared with 0.75 on average",
        ),
    ],
)
def test_classes_that_go_badly_are_named(said, changes, text):
    per_class = None
    if recalls := changes.pop("recalls", None):
        per_class = {
            "precision": [1.0] * 3,
            "recall": [hits / 40 for hits in recalls],
            "f1": [0.8] * 3,
            "true_count": [40] * 3,
            "predicted_count": [50, 60, 10],
        }
    trials = scored(0.5, **({"per_class": per_class} if per_class else {}))
    assert text in said(trials, **changes)(Topic.FLAGGED)


def test_classes_that_are_never_predicted_are_named(said):
    per_class = {
        "precision": [1.0, 0, 0],
        "recall": [1.0, 0, 0],
        "f1": [1.0, 0, 0],
        "true_count": [40] * 3,
        "predicted_count": [120, 0, 0],
    }
    assert "never predicts 2 of 3 classes: dog, owl." in said(scored(0.33, per_class=per_class))(Topic.FLAGGED)


# --- what to try next -----------------------------------------------------------------------------------------------


def with_lr(*rates, scores=None):
    scores = scores or [0.5 + n / 100 for n in range(len(rates))]
    return [{"scores": [score], "params": {LR: rate}} for rate, score in zip(rates, scores, strict=True)]


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        (
            [0.001, 0.005, 0.08, 0.09, 0.099],
            "head_lr: the best trial is at the upper edge of the searched range (0.1), and most of the best 3 trials",
        ),
        (
            [0.1, 0.05, 0.002, 0.0012, 0.0011],
            "head_lr: the best trial is at the lower edge of the searched range (0.001), and most of the best 3 trials",
        ),
    ],
)
def test_a_best_value_at_the_edge_of_its_range_asks_for_a_wider_one(said, rates, text):
    found = said(with_lr(*rates))(Topic.NEXT)
    assert text in found
    assert "Widen the range, for example to 1." in found or "for example to 0.0001." in found


def test_a_best_value_in_the_middle_asks_for_nothing(said):
    assert "edge" not in said(with_lr(0.001, 0.1, 0.02, 0.012, 0.01))(Topic.NEXT)


def test_a_single_good_trial_at_the_edge_is_no_reason_to_widen(said):
    assert "edge" not in said(with_lr(0.02, 0.01, 0.005, 0.008, 0.099))(Topic.NEXT)


@pytest.mark.parametrize(("count", "few"), [(24, True), (60, False)])
def test_few_trials_for_many_values_are_said_to_be_few(said, count, few):
    found = said(searched_trials(count), search={"trials": count})(Topic.NEXT)
    assert ("are few for 5 searched values. With 25 or more" in found) is few


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        ([0.1] * 9 + [0.9], "The best trial came late: 0 of the 10 finished trials came after it."),
        ([0.9] + [0.1] * 9, "9 later trials did not beat the best one"),
    ],
)
def test_when_the_best_came_tells_whether_more_trials_pay(said, scores, text):
    assert text in said(scored(*scores))(Topic.NEXT)


def test_of_few_trials_the_first_being_the_best_says_nothing_about_more_of_them(said):
    first, *others = searched_trials(12, prune=False)
    found = said([{**first, "scores": [0.99]}, *others], search={"trials": 12})(Topic.NEXT)
    assert "are few for 5 searched values" in found
    assert "will gain little" not in found


def test_trials_that_rise_to_the_end_want_more_epochs(said):
    rising = [{"scores": [0.1, 0.2, 0.3 + n / 100]} for n in range(5)]
    assert "5 of the best 5 trials had their best epoch at the very end" in said(rising)(Topic.NEXT)


def test_trials_that_peaked_before_do_not(said):
    assert "at the very end" not in said([{"scores": [0.1, 0.4, 0.3 + n / 100]} for n in range(5)])(Topic.NEXT)


def measured(**shares):
    """Importances as the evaluators tell them: name -> (importance, high, chance)."""
    paths = {"lr": LR, "patience": "train.stages[*].plateau.patience", "kind": LOSS}
    rows = [
        {
            "path": paths[n],
            "name": n,
            "evaluator": "ped_anova",
            "importance": i,
            "low": 0.0,
            "high": h,
            "chance": c,
            "trials": 60,
        }
        for n, (i, h, c) in shares.items()
    ]
    return pd.DataFrame(rows)


def test_values_that_do_not_matter_can_be_fixed(said):
    importance = measured(lr=(0.8, 0.9, 0.3), patience=(0.02, 0.05, 0.3), kind=(0.1, 0.25, 0.3))
    found = said(searched_trials(60), importance=importance)(Topic.NEXT)
    assert "Fix the values that do not matter" in found
    told = found.split("Fix the values that do not matter")[1]
    assert "plateau.patience = " in told
    assert "head_lr" not in told
    assert "kind" not in told  # it may matter yet


def test_after_few_trials_nothing_is_fixed(said):
    found = said(searched_trials(30), importance=measured(lr=(0.8, 0.9, 0.3), patience=(0.02, 0.05, 0.3)))
    assert "Fix the values" not in found(Topic.NEXT)


def test_where_nothing_beats_chance_that_is_said(said):
    found = said(searched_trials(10), importance=measured(lr=(0.3, 0.5, 0.4)))(Topic.MATTERED)
    assert "No searched value stands out from chance yet. lr is highest, with 30% of the importance (0% … 50%)" in found
    assert "a value gets up to 40%" in found


def test_a_search_that_is_not_finished_is_resumed(said):
    found = said([*scored(0.5), {"status": "running"}])
    assert "1 trial is running or interrupted and 22 of 24 have not started" in found(Topic.NEXT)
    assert "thaw resume digits" in found.commands(Topic.NEXT)


def test_where_all_failed_the_first_traceback_is_shown(said):
    found = said([{"status": "failed", "reason": "ValueError: no"}] * 3)(Topic.NEXT)
    assert "Every trial that ended has failed." in found
    assert "0000/error.txt" in found


def test_rungs_that_judge_what_does_not_count_are_doubted(said):
    trials = [{"scores": [0.5 - n / 50, 0.5 - n / 50, 0.6 + n / 50]} for n in range(6)]
    trials += [{"scores": [0.1, 0.1], "status": "pruned"}]
    found = said(trials)(Topic.NEXT)
    assert "The ranking at the first rung (epoch 2) says little about the final ranking" in found
    assert "(Spearman) is -1.00 among the 6 finished trials" in found


def test_rungs_that_judge_well_are_not(said):
    trials = [{"scores": [0.3 + n / 50, 0.3 + n / 50, 0.6 + n / 50]} for n in range(6)]
    assert "first rung" not in said([*trials, {"scores": [0.1, 0.1], "status": "pruned"}])(Topic.NEXT)


def test_a_style_that_starts_slowly_and_is_pruned_more_often_is_pointed_out(said):
    slow = [{"scores": [0.2, 0.2], "status": "pruned", "params": {LOSS: "ldam"}}] * 5
    slow += [{"scores": [0.3, 0.3, 0.9], "params": {LOSS: "ldam"}}] * 2
    quick = [{"scores": [0.6, 0.6, 0.65], "params": {LOSS: "cross_entropy"}}] * 5
    quick += [{"scores": [0.4, 0.4], "status": "pruned", "params": {LOSS: "cross_entropy"}}]
    found = said(slow + quick)(Topic.NEXT)
    assert "kind = ldam was pruned at epoch 2 in 71% of its trials (others: 17%)" in found
    assert "gained 0.6000 after that epoch (others: 0.0500)" in found
    assert "kind = cross_entropy" not in found


# --- what sentences claim ---------------------------------------------------------------------------------------------


def own(**values):
    """Config whose recipe has these values, and a search of the paths."""
    return {"train": {"metric": "balanced_accuracy", "stages": [{"name": "head", "unfreeze_from": "head"}], **values}}


def test_a_trial_has_not_the_files_own_values_where_the_file_has_a_choice_that_is_not_searched(said):
    trials = [{"scores": [0.5 + n / 10], "params": {"train.balance": ["sampler", "auto"][n]}} for n in range(2)]
    space = {"train.balance": {"choice": ["sampler", "auto"]}}
    found = said(trials, space=space, **own(balance="none"))(Topic.BEST)
    assert "What searching gained over the search file's own values is unknown" in found


def test_a_trial_has_not_the_files_own_values_where_the_file_has_none(said):
    trials = [{"scores": [0.5 + n / 10], "params": {"train.ema.decay": 0.9 + n / 100}} for n in range(2)]
    found = said(trials, space={"train.ema.decay": {"float": [0.9, 0.99]}}, **own(ema=None))(Topic.BEST)
    assert "What searching gained over the search file's own values is unknown" in found


def test_a_null_in_the_file_is_a_value_of_its_own(said):
    trials = [{"scores": [0.5 + n / 10], "params": {"train.clip_norm": [None, 1.0][n]}} for n in range(2)]
    found = said(trials, space={"train.clip_norm": {"choice": [None, 1.0]}}, **own(clip_norm=None))(Topic.BEST)
    assert "Trial 0 used the search file's own values and scored 0.5000, so searching gained 0.1000." in found


def test_a_search_that_a_budget_ended_is_not_resumed(said, tmp_path):
    ended = {"scores": [0.5], "status": "pruned", "reason": "budget: 1 hours have passed"}

    def with_status(trials):
        root = write_search(tmp_path / f"over-{trials}", [*scored(0.6, 0.7), ended])
        (root / "status.json").write_text(json.dumps({"state": "complete", "trials": trials}))
        return Said(conclusions(Evidence(take_snapshot(load(root)), NONE, "digits")))

    over, extended = with_status(24), with_status(12)
    assert "A budget of search.stop ended the search after 3 of 24 trials." in over(Topic.NEXT)
    assert over.commands(Topic.NEXT) == []
    assert extended.commands(Topic.NEXT) == ["thaw resume digits"]


@pytest.mark.parametrize(
    ("trials", "text"),
    [
        (scored(0.5, 0.6, status="infeasible"), "No trial with a score may be the best (2 infeasible)"),
        (scored(0.5, status="failed"), "No trial with a score may be the best (1 failed)"),
    ],
)
def test_trials_with_scores_of_which_none_may_be_the_best_are_said_to_have_them(said, trials, text):
    assert text in said(trials)(Topic.BEST)


@pytest.mark.parametrize(
    ("path", "distribution", "values", "text"),
    [
        ("train.stages[-1].dropout", {"float": [0.0, 0.9]}, [0.7, 0.8, 0.9], "for example to 0.99."),
        ("train.stages[-1].dropout", {"float": [0.0, 0.9]}, [0.2, 0.1, 0.0], None),
        ("train.batch_size", {"int": [1, 64]}, [3, 2, 1], None),
        ("train.seed", {"int": [0, 100]}, [98, 99, 100], "for example to 150."),
    ],
)
def test_a_range_is_widened_within_what_a_recipe_allows(said, path, distribution, values, text):
    trials = [
        {"scores": [0.5 + n / 10], "params": {path: value}, "recipe": json.dumps(with_values(RECIPE, {path: value}))}
        for n, value in enumerate(values)
    ]
    found = said(trials, space={path: distribution})(Topic.NEXT)
    assert ("edge" in found) == (text is not None)
    assert text is None or text in found


def test_trials_that_saw_other_data_are_named_and_not_compared(said):
    before, after = ({"environment": {"data_fingerprint": name * 64}} for name in "ab")
    found = said([*scored(0.6, 0.5, **before), *scored(0.9, 0.8, **after)])
    assert "Trials 2, 3 saw other data than the trials before" in found(Topic.FLAGGED)
    assert "The best on each: trial 0 (0.6000), trial 2 (0.9000)." in found(Topic.FLAGGED)
    assert "Trial 2 has the best balanced accuracy, 0.9000, in epoch 1 of 1 (best of 2 finished trials)." in found(
        Topic.BEST
    )
    assert "second best, trial 3" in found(Topic.BEST)


def test_data_that_is_searched_may_differ(said):
    trials = [
        {"scores": [0.5], "params": {"data.image_size": 32 * n}, "environment": {"data_fingerprint": str(n)}}
        for n in (1, 2, 1)
    ]
    assert "other data" not in said(trials, space={"data.image_size": {"choice": [32, 64]}})(Topic.FLAGGED)


def test_further_objectives_have_their_front(said):
    reached = [(0.9, 9.0), (0.8, 5.0), (0.7, 7.0)]
    trials = [{"scores": [score], "objectives": {"score": score, "macs": macs}} for score, macs in reached]
    found = said(trials, search={"trials": 3, "objectives": ["score", "macs"]})
    assert (
        "The search has 2 objectives: balanced accuracy, macs. Of the 3 finished trials 2 cannot be improved in one"
        in (found(Topic.BEST))
    )
    assert "(the Pareto front): 0, 1." in found(Topic.BEST)
    assert "thaw results digits --pareto" in found.commands(Topic.BEST)


def test_of_one_value_no_share_is_told(said):
    trials = [{"scores": [n / 20], "params": {LR: 0.001 + n / 1000}} for n in range(10)]
    found = said(trials, importance=None, space={LR: {"float": [0.001, 0.02]}})(Topic.MATTERED)
    assert found == "head_lr is the only value in which enough trials differ, so its importance cannot be compared."
