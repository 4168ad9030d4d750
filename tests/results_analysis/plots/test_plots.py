"""The numbers of the report's pictures, and that each can be drawn from them."""

import math

import pytest

from results_analysis import load
from results_analysis.plots.classes import class_recall, confusion, draw_class_recall, draw_confusion
from results_analysis.plots.compute_savings import draw_savings, savings
from results_analysis.plots.contours import contour, draw_contour, pairs
from results_analysis.plots.cost import cost_and_score, draw_cost_and_score
from results_analysis.plots.importance import draw_importance
from results_analysis.plots.learning_curves import (
    curve_band,
    draw_learning_curves,
    drawn_quantities,
    learning_curves,
    marks,
    rungs,
)
from results_analysis.plots.parallel_coordinates import draw_parallel_coordinates, parallel_coordinates
from results_analysis.plots.score_over_trials import draw_score_over_trials, score_over_trials
from results_analysis.plots.slices import draw_slice, slices
from results_analysis.plots.stage_timeline import draw_stage_timeline, stage_timeline
from results_analysis.plots.style import around_equal, escaped, subsampled
from results_analysis.statistics.importance import importances
from results_analysis.tables.run_snapshot import records, take_snapshot
from tests.support.searched_runs import searched_trials, write_search, write_trial
from trainables.core.vocabulary import Metric, TrialStatus


@pytest.fixture
def taken(tmp_path):
    """`taken(trials)`: a snapshot of such a run."""

    def take(trials, **config):
        return take_snapshot(load(write_search(tmp_path / "run", trials, **config)))

    return take


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return take_snapshot(load(write_search(tmp_path_factory.mktemp("runs") / "run", searched_trials(30))))


# --- the snapshot ---------------------------------------------------------------------------------------------------


def test_trials_are_placed_by_how_far_they_came_and_then_by_score(taken):
    trials = [
        {"scores": [0.9, 0.9], "status": "pruned"},
        {"scores": [0.1] * 4, "status": "pruned"},
        {"scores": [0.3] * 6},
        {"scores": [0.5] * 6},
        {"scores": [0.99] * 6, "status": "failed"},
        {"status": "running"},
    ]
    trials = taken(trials).trials
    assert trials["trial"].tolist() == [3, 2, 1, 0, 4, 5]
    assert trials["place"].tolist()[:4] == [1, 2, 3, 4]
    assert trials["place"].isna().tolist()[4:] == [True, True]


@pytest.mark.parametrize("status", list(TrialStatus))
def test_every_status_can_be_drawn(taken, status):
    frame = score_over_trials(taken([{"scores": [0.5], "status": status.value}]))
    drawn = draw_score_over_trials(frame, Metric.KAPPA)
    assert drawn.data[0].name == f"{status.value} (1)"
    assert drawn.data[0].marker.symbol


def test_of_a_loss_the_lowest_comes_first(taken):
    assert taken([{"scores": [0.5]}, {"scores": [0.2]}], metric=Metric.VAL_LOSS).trials["trial"].tolist() == [1, 0]


def test_a_trial_that_cannot_be_read_has_no_place_and_does_no_harm(taken, tmp_path):
    snapshot = taken(searched_trials(6))
    file = snapshot.run.layout.trial(int(snapshot.best)).epochs
    file.write_text("{nonsense\n" + file.read_text())
    again = take_snapshot(load(tmp_path / "run"))
    assert again.best != snapshot.best
    assert again.trials.set_index("trial").loc[snapshot.best, "status"] == "unreadable"


def test_classes_have_the_names_that_the_run_tells_or_their_numbers(taken):
    snapshot = taken([{"scores": [0.5]}], classes=("cat", "dog"))
    assert snapshot.class_names == ["cat", "dog"]
    snapshot.run.layout.trial(0).environment.write_text("{}")
    assert take_snapshot(snapshot.run).class_names == ["0", "1"]


# --- scores, cost ---------------------------------------------------------------------------------------------------


def test_the_best_so_far_is_of_finished_trials(taken):
    trials = [
        {"scores": [0.5] * 6},
        {"scores": [0.9], "status": "pruned"},
        {"scores": [0.4] * 6},
        {"status": "running"},
        {"scores": [0.7] * 6},
    ]
    frame = score_over_trials(taken(trials))
    assert frame["trial"].tolist() == [0, 1, 2, 4]
    assert frame["best_so_far"].tolist() == [0.5, 0.5, 0.5, 0.7]
    assert [trace.name for trace in draw_score_over_trials(frame, Metric.KAPPA).data] == [
        "pruned (1)",
        "finished (3)",
        "best so far",
    ]


def test_before_the_first_has_finished_the_best_so_far_is_of_all(taken):
    frame = score_over_trials(taken([{"scores": [0.9], "status": "pruned"}, {"scores": [0.5], "status": "running"}]))
    assert frame["best_so_far"].tolist() == [0.9, 0.9]


def test_the_front_holds_what_nothing_cheaper_beats(taken):
    scores_and_costs = [(0.5, 1.0), (0.9, 3.0), (0.7, 2.0), (0.6, 2.5), (0.9, 4.0)]
    frame = cost_and_score(taken([{"scores": [score], "cost": cost} for score, cost in scores_and_costs]))
    assert frame.loc[frame["front"], "trial"].tolist() == [0, 2, 1]
    assert frame["cost_s"].tolist() == [1.25, 2.5, 3.125, 3.75, 5.0]
    assert draw_cost_and_score(frame, Metric.KAPPA).data[-1].x.tolist() == [1.25, 2.5, 3.75]


# --- curves ---------------------------------------------------------------------------------------------------------


def test_the_best_curves_come_first_and_others_are_spread_over_the_rest(snapshot):
    frame = learning_curves(snapshot, top=3, others=4)
    shown = list(dict.fromkeys(frame["trial"]))
    assert shown[:3] == snapshot.trials["trial"].tolist()[:3]
    assert len(shown) == 7
    assert shown[-1] == snapshot.trials["trial"].iloc[-1]
    assert frame.loc[frame["trial"] == shown[0], "epoch"].tolist() == [1, 2, 3, 4, 5, 6]


def test_the_band_holds_the_middle_of_all_trials(taken):
    band = curve_band(taken([{"scores": [n / 10, 0.5]} for n in range(11)]))
    first = records(band)[0]
    assert (first["low"], first["median"], first["high"], first["trials"]) == pytest.approx((0.1, 0.5, 0.9, 11))


def test_rungs_are_where_trials_were_pruned_and_flags_are_none(taken):
    trials = [{"scores": [0.1] * 2, "status": "pruned"}] * 3 + [{"scores": [0.1] * 4, "status": "pruned"}]
    trials += [{"scores": [0.1] * 3, "status": "pruned", "stopped_for": "nan"}, {"scores": [0.5] * 6}]
    assert rungs(taken(trials)).to_numpy().tolist() == [[2, 3], [4, 1]]


def test_marks_tell_what_happened(taken):
    snapshot = taken([{"scores": [0.1, 0.2, 0.3, 0.6, 0.5]}, {"scores": [0.1, 0.2], "status": "pruned"}])
    folder = snapshot.run.layout.trial(0).checkpoints
    folder.mkdir()
    for name in ("0004_top_kappa=0.6000.pt", "0005_top_kappa=0.5000.pt", "0005_notes.txt"):
        (folder / name).touch()
    found = marks(snapshot)
    by_mark = {name: rows[["trial", "epoch"]].to_numpy().tolist() for name, rows in found.groupby("mark")}
    assert by_mark == {
        "stage": [[0, 3]],
        "reweighted": [[0, 5]],
        "checkpoint": [[0, 4], [0, 5]],
        "best": [[0, 4], [1, 2]],
        "pruned": [[1, 2]],
    }


def test_a_stage_that_ended_before_its_epochs_did_ended_on_its_plateau(taken):
    snapshot = taken([{"scores": [0.1] * 5, "stage_over": True, "stage_index": 1, "epoch_in_stage": 2}])
    assert set(marks(snapshot).query("mark == 'plateau'")["epoch"]) == {1, 2, 3, 4, 5}
    assert len(marks(taken_again(snapshot, epoch_in_stage=4)).query("mark == 'plateau'")) == 0


def taken_again(snapshot, **changes):
    """The same with other epochs."""
    layout = snapshot.run.layout
    recipe = layout.trial(0).recipe.read_text()
    for file in layout.trial(0).root.iterdir():
        file.unlink()
    layout.trial(0).root.rmdir()
    write_trial(layout, 0, [0.1] * 5, stage_over=True, stage_index=1, classes=("a", "b"), recipe=recipe, **changes)
    return take_snapshot(snapshot.run)


def test_the_timeline_has_a_stretch_for_each_thing_that_trained(taken):
    frame = stage_timeline(taken([{"scores": [0.1] * 6}, {"scores": [0.5] * 3, "status": "pruned"}]))
    columns = ["trial", "stage", "open_from", "head_frozen", "first_epoch", "last_epoch", "val_loss"]
    assert frame[columns].to_numpy().tolist() == [
        [0, "head", "head", False, 1, 2, 1.9],
        [0, "top", "features.11", True, 3, 3, 1.9],
        [0, "top", "features.11", False, 4, 6, 1.9],
        [1, "head", "head", False, 1, 2, 1.5],
        [1, "top", "features.11", True, 3, 3, 1.5],
    ]
    assert {trace.name for trace in draw_stage_timeline(frame).data} == {"head", "top", "top, head frozen"}


# --- searched values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("epochs", "every"), [(4, 1), (30, None)])
def test_of_few_epochs_each_has_a_tick_and_none_has_two(taken, epochs, every):
    run = taken([{"scores": [0.5] * epochs}])
    assert draw_stage_timeline(stage_timeline(run)).layout.xaxis.dtick == every
    bands = {quantity: curve_band(run, quantity) for quantity in ("score", "val_loss")}
    drawn = draw_learning_curves(learning_curves(run), bands, marks(run), rungs(run), run.metric)
    assert drawn.layout.xaxis2.dtick == every


def test_a_quantity_that_no_epoch_has_gets_no_axes(taken):
    run = taken([{"scores": [0.5] * 3}])
    curves = learning_curves(run).assign(score=math.nan)
    bands = {quantity: curve_band(run, quantity) for quantity in ("score", "val_loss")}
    drawn = draw_learning_curves(curves, bands, marks(run), rungs(run), run.metric)
    assert [axis.title.text for axis in drawn.select_yaxes()] == ["validation loss"]
    assert drawn_quantities(curves, run.metric) == ["val_loss"]
    assert drawn_quantities(curves.assign(val_loss=math.nan), run.metric) == []


def test_the_loss_of_a_stretch_with_the_head_at_rest_stands_on_the_colour_of_its_stage(taken):
    bars = draw_stage_timeline(stage_timeline(taken([{"scores": [0.5] * 6}]))).data
    (resting,) = [bar for bar in bars if bar.marker.pattern.shape == "/"]
    assert (resting.marker.pattern.fillmode, resting.insidetextfont.color) == ("overlay", "#111")


def test_slices_leave_out_what_a_trial_does_not_have(snapshot):
    (margin,) = [value for value in snapshot.searched if value.name == "loss.max_margin"]
    drawn = draw_slice(slices(snapshot), margin)
    assert sum(len(trace.x) for trace in drawn.data) == (snapshot.trials["train.loss.kind"] == "ldam").sum()


def test_parallel_coordinates_group_by_place(snapshot):
    frame = parallel_coordinates(snapshot, lines=20)
    assert len(frame) == 20
    assert frame["group"].iloc[0] == "best tenth"
    assert frame["group"].iloc[-1] == "worse half"
    shares = frame[[value.path for value in snapshot.searched]]
    assert shares.min().min() >= 0
    assert shares.max().max() <= 1
    assert len(draw_parallel_coordinates(frame, snapshot.searched).layout.xaxis.ticktext) == 5


def test_a_contour_is_high_where_scores_are_and_silent_where_no_trial_is(snapshot):
    lr, margin, *_ = (v for v in snapshot.searched if v.scale != "choice")
    frame = contour(snapshot, lr, margin)
    assert frame["score"].isna().any()
    near_peak = frame[(frame["across"] + 1.5).abs() < 0.2]["score"].mean()
    assert near_peak > frame[frame["across"] < -2.5]["score"].mean() + 0.1
    assert frame["score"].max() <= snapshot.placed["score"].max()
    assert draw_contour(frame, lr, margin, snapshot.placed, Metric.KAPPA).data[0].type == "contour"


def test_choices_have_no_contours(snapshot):
    assert all("choice" not in (a.scale, b.scale) for a, b in pairs(snapshot.searched))
    assert len(pairs(snapshot.searched)) == 3


@pytest.mark.parametrize(
    ("values", "ends"),
    [([1.0, 1.0], [0.9, 1.1]), ([0.0], [-0.1, 0.1]), ([math.nan, 2.0], [1.8, 2.2]), ([1.0, 2.0], None)],
)
def test_equal_scores_are_shown_close_up(values, ends):
    assert around_equal(values).get("range") == (ends and pytest.approx(ends))


# --- classes --------------------------------------------------------------------------------------------------------


def best(snapshot):
    return snapshot.best_report, snapshot.class_names


def test_recall_comes_with_the_interval_that_its_images_allow(taken):
    frame = class_recall(*best(taken([{"scores": [0.8], "images": 10}])))
    first = records(frame)[0]
    assert (first["class"], first["images"], first["recall"], first["predicted"]) == ("cat", 10, 0.8, 10)
    assert (first["low"], first["high"]) == (pytest.approx(0.49, abs=0.01), pytest.approx(0.943, abs=0.01))
    draw_class_recall(frame)


def test_confusion_has_true_classes_in_rows(taken):
    frame = confusion(*best(taken([{"scores": [0.8], "images": 10}])))
    assert frame.loc["cat"].to_dict() == {"cat": 8, "dog": 2, "owl": 0}
    draw_confusion(frame)


def test_a_regression_has_no_classes(taken):
    snapshot = taken([{"scores": [0.8]}], metric=Metric.SPEARMAN, task="regression")
    assert class_recall(*best(snapshot)).empty
    assert confusion(*best(snapshot)).empty


def test_class_names_that_would_fall_together_are_told_apart(taken):
    names = ("a" * 40, "a" * 41, "1")
    labels = draw_confusion(confusion(*best(taken([{"scores": [0.8]}], classes=names)))).data[0].x
    assert len(set(labels)) == 3


# --- savings --------------------------------------------------------------------------------------------------------


def test_pruning_saved_the_epochs_that_others_ran(taken):
    trials = [{"scores": [0.5] * 6}, {"scores": [0.5] * 6}, {"scores": [0.1] * 2, "status": "pruned"}]
    rows = {row["what"]: row for row in records(savings(taken(trials)))}
    assert rows["pruning"]["epochs"] == 4
    assert rows["pruning"]["seconds"] == pytest.approx(4 * 1.25)
    assert rows["training"]["seconds"] == pytest.approx(14)
    assert rows["validation"]["seconds"] == pytest.approx(14 / 4)


def test_a_trial_without_an_epoch_is_no_epoch_saved_twice(taken):
    trials = [{"scores": [0.5] * 6}, {"status": "pruned"}]
    assert records(savings(taken(trials)))[3]["epochs"] == 6


def test_kept_features_saved_what_they_took_to_compute(taken):
    trials = [{"scores": [0.5] * 2, "cache": 8.0}, {"scores": [0.5] * 2}]
    rows = {row["what"]: row for row in records(savings(taken(trials)))}
    assert rows["computing cached features"]["seconds"] == 8
    assert rows["cached features"]["seconds"] == pytest.approx(3 * 8)
    assert sum(rows[what]["seconds"] for what in ("training", "validation")) == pytest.approx(4 * 1.25)


GENERATIONS = [
    {"scores": [0.1] * 6, "cost": 8.0},
    {"scores": [0.2] * 2, "cost": 8.0, "status": "pruned"},
    {"scores": [0.3] * 6, "cost": 8.0, "parent": (0, 2)},
    {"status": "running", "scores": [0.1] * 2, "parent": (0, 2)},  # has done nothing itself yet
]
"""Six epochs of 10 s, two, and four after two that another one did."""


def test_what_is_inherited_was_spent_once_and_saves_no_second_time(taken):
    rows = {row["what"]: row for row in records(savings(taken(GENERATIONS)))}
    assert (rows["training"]["seconds"], rows["training"]["epochs"]) == (96.0, 12)
    assert (rows["pruning"]["seconds"], rows["pruning"]["epochs"]) == (40.0, 4)


def test_curves_and_stages_are_of_what_a_trial_did_itself(taken):
    snapshot = taken(GENERATIONS)
    curves, stages = learning_curves(snapshot), stage_timeline(snapshot)
    assert curves.groupby("trial")["epoch"].min().to_dict() == {0: 1, 1: 1, 2: 3}
    assert stages.groupby("trial")["first_epoch"].min().to_dict() == {0: 1, 1: 1, 2: 3}
    bands = {quantity: curve_band(snapshot, quantity) for quantity in ("score", "val_loss")}
    assert draw_learning_curves(curves, bands, marks(snapshot), rungs(snapshot), Metric.KAPPA).data
    assert snapshot.trials.set_index("trial")["cost_s"].to_dict() == {0: 60.0, 1: 20.0, 2: 40.0, 3: 0.0}


def test_savings_stand_beside_what_was_spent(snapshot):
    names = [trace.name for trace in draw_savings(savings(snapshot)).data]
    assert names == ["training", "validation", "saved by pruning"]


@pytest.mark.parametrize(("seconds", "unit"), [(21, "seconds"), (200, "minutes"), (90_000, "hours")])
def test_compute_is_counted_in_what_suits_it(snapshot, seconds, unit):
    frame = savings(snapshot)
    drawn = draw_savings(frame.assign(seconds=frame["seconds"] * seconds / frame["seconds"].sum()))
    assert drawn.layout.xaxis.title.text == f"{unit} of compute"


def test_what_cannot_be_known_has_no_seconds(taken):
    rows = {row["what"]: row for row in records(savings(taken([{"scores": [0.1], "status": "pruned"}])))}
    assert math.isnan(rows["pruning"]["seconds"])
    assert "unknown until a trial has finished" in rows["pruning"]["how"]


# --- style ----------------------------------------------------------------------------------------------------------


def test_labels_are_text_and_not_tags():
    assert escaped("<b>&amp;") == "&lt;b&gt;&amp;amp;"


def test_thinning_keeps_the_first_and_the_last(snapshot):
    frame = subsampled(snapshot.trials, 10, first=4)
    assert frame.index.tolist()[:4] == [0, 1, 2, 3]
    assert frame.index[-1] == 29
    assert len(frame) == 10


def test_every_picture_can_be_drawn(snapshot):
    bands = {name: curve_band(snapshot, name) for name in ("score", "val_loss")}
    curves = draw_learning_curves(
        learning_curves(snapshot), bands, marks(snapshot), rungs(snapshot), Metric.BALANCED_ACCURACY
    )
    assert {trace.name for trace in curves.data} >= {"best epoch", "next stage begins", "other trials"}
    frame = importances(snapshot)
    assert len(draw_importance(frame[frame["evaluator"] == "fanova"]).data) == 2
