import math

import pytest

from trainables.core.vocabulary import Metric
from trainables.recipe.recipe import parse_recipe
from trainables.training.learning_rates import one_cycle
from trainables.training.stage_plan import (
    Opening,
    Position,
    drw_is_pending,
    epochs_without_improvement,
    has_settled,
    plan_epoch,
    stage_is_over,
)

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("losses", "patience", "reached"),
    [
        pytest.param([], 1, False, id="nothing has run"),
        pytest.param([1.0], 1, False, id="the first epoch is always an improvement"),
        pytest.param([1.0, 1.0], 1, True, id="no patience"),
        pytest.param([1.0, 1.0], 2, False, id="one epoch of two"),
        pytest.param([1.0, 1.0, 1.0], 2, True, id="flat"),
        pytest.param([1.0, 1.1, 1.2], 2, True, id="worse is no improvement"),
        pytest.param([1.0, 0.8, 0.6, 0.4], 2, False, id="falling"),
        pytest.param([1.0, 1.2, 0.8, 1.2], 2, False, id="a new low starts the wait again"),
        pytest.param([1.0, 1.2, 0.8, 1.2, 1.0], 2, True, id="and the wait ends after it"),
        pytest.param([1.0, 0.91, 0.91], 2, True, id="a drop smaller than the threshold does not count"),
        pytest.param([1.0, 0.94, 0.88, 0.82], 3, False, id="small drops add up"),
        pytest.param([1.0, 0.97, 0.94, 0.91], 3, True, id="not to enough"),
        pytest.param([NAN, NAN], 2, True, id="NaN never improves"),
        pytest.param([NAN], 2, False, id="not before patience epochs have run"),
        pytest.param([1.0, NAN, 0.5, NAN], 2, False, id="NaN between does not stop improvement"),
        pytest.param([1.0, NAN, NAN], 2, True, id="diverged"),
        pytest.param([NAN, 1.0], 1, False, id="recovered"),
        pytest.param([INF, INF], 2, True, id="infinite from the start"),
    ],
)
def test_a_stage_ends_on_its_plateau(losses, patience, reached):
    assert (epochs_without_improvement(losses, threshold=0.1) >= patience) is reached


@pytest.mark.parametrize(("losses", "reached"), [([1.0, 0.75], False), ([1.0, 0.5], False), ([1.0, 0.8], True)])
def test_a_drop_counts_when_it_is_larger_than_the_threshold(losses, reached):
    assert (epochs_without_improvement(losses, threshold=0.2 + 1e-9) == 1) is reached


def test_a_drop_of_exactly_the_threshold_does_not_count():
    assert epochs_without_improvement([1.0, 0.75], threshold=0.25) == 1
    assert epochs_without_improvement([1.0, 0.75 - 1e-9], threshold=0.25) == 0


def test_without_threshold_any_drop_counts_and_none_does_not():
    assert epochs_without_improvement([1.0, 1.0 - 1e-12], threshold=0) == 0
    assert epochs_without_improvement([1.0, 1.0], threshold=0) == 1


@pytest.mark.parametrize(
    ("metric", "values", "waited"),
    [
        pytest.param(Metric.KAPPA, [0.1, 0.3, 0.5], 0, id="a score improves by rising"),
        pytest.param(Metric.KAPPA, [0.5, 0.3, 0.1], 2, id="and not by falling"),
        pytest.param(Metric.KAPPA, [0.5, 0.55, 0.61], 0, id="small gains add up"),
        pytest.param(Metric.KAPPA, [NAN, 0.5, NAN], 1, id="NaN is no improvement"),
        pytest.param(Metric.MAE, [0.5, 0.3, 0.1], 0, id="an error improves by falling"),
    ],
)
def test_each_metric_improves_in_its_own_direction(metric, values, waited):
    assert epochs_without_improvement(values, threshold=0.1, metric=metric) == waited


PATIENT_2 = {"patience": 2, "threshold": 0.0}
PATIENT_3 = {"patience": 3, "threshold": 0.0}


def recipe(**train):
    stages = [
        {"name": "head", "unfreeze_from": "head", "epochs": 10, "plateau": PATIENT_2},
        {"name": "all", "unfreeze_from": "all", "epochs": 10, "plateau": PATIENT_2},
    ]
    return parse_recipe(
        {
            "data": {"source": "digits"},
            "model": {"backbone": "resnet18"},
            "train": {"stages": stages, "early_stop": PATIENT_3, **train},
        }
    )


def one_stage(**fields):
    return [{"name": "only", "unfreeze_from": "head", "epochs": 10, **fields}]


def at(stage, losses, *, before=0):
    """Where a run stands in a stage after epochs with these losses, and `before` epochs of earlier stages."""
    position = Position(epoch=before, stage=stage)
    for loss in losses:
        position = position.after_epoch(loss)
    return position


FLAT = [1.0] * 10
FALLING = [1.0 - i / 20 for i in range(10)]


@pytest.mark.parametrize(
    ("position", "train", "over"),
    [
        pytest.param(at(0, FLAT[:2]), {}, False, id="an earlier stage goes on before its plateau"),
        pytest.param(at(0, FLAT[:3]), {}, True, id="ends on it"),
        pytest.param(at(0, FALLING[:9]), {}, False, id="goes on while it improves"),
        pytest.param(at(0, FALLING), {}, True, id="ends with its last epoch"),
        pytest.param(at(1, FLAT[:3], before=3), {}, False, id="the last stage does not ask its plateau"),
        pytest.param(at(1, FLAT[:4], before=3), {}, True, id="but early_stop"),
        pytest.param(at(1, FLAT[:9], before=3), {"early_stop": None}, False, id="no early stop: it goes on"),
        pytest.param(at(1, FLAT, before=3), {"early_stop": None}, True, id="no early stop: until its last epoch"),
        pytest.param(at(0, FLAT[:4]), {"stages": one_stage(plateau=PATIENT_2)}, True, id="an only stage is the last"),
        pytest.param(
            at(0, FLAT[:3]), {"stages": one_stage(plateau=PATIENT_2)}, False, id="and has early_stop's patience"
        ),
        pytest.param(
            at(0, FLAT[:9]),
            {"stages": [*one_stage(plateau=None), {"name": "last", "unfreeze_from": "all"}]},
            False,
            id="plateau null: it goes on",
        ),
        pytest.param(
            at(0, FLAT),
            {"stages": [*one_stage(plateau=None), {"name": "last", "unfreeze_from": "all"}]},
            True,
            id="plateau null: until its last epoch",
        ),
        pytest.param(at(0, FLAT[:3]), {"early_stop": None}, True, id="early_stop null leaves earlier stages alone"),
    ],
)
def test_a_stage_is_over(position, train, over):
    assert stage_is_over(recipe(**train), position) is over


@pytest.mark.parametrize(
    ("drw_start", "losses", "over"),
    [
        pytest.param(16, FLAT[:5], False, id="not started: flat epochs do not count (15 planned)"),
        pytest.param(16, FLAT[:6], False, id="one re-weighted epoch"),
        pytest.param(16, FLAT[:8], False, id="three re-weighted epochs, the first of them the new low"),
        pytest.param(16, FLAT[:9], True, id="four re-weighted epochs without improvement"),
        pytest.param(16, [0.1, *FLAT[:7]], False, id="a low before the start is forgotten"),
        pytest.param(11, FLAT[:4], True, id="started with the stage"),
        pytest.param(1, FLAT[:4], True, id="started in an earlier stage"),
        pytest.param(1, FLAT[:3], False, id="started in an earlier stage: only the losses of this one count"),
        pytest.param(20, FLAT, True, id="the last epoch ends the stage whatever holds early stop back"),
    ],
)
def test_early_stop_judges_re_weighted_epochs_only(drw_start, losses, over):
    deferred = recipe(drw={"start_epoch": drw_start})
    assert stage_is_over(deferred, at(1, losses, before=3)) is over


def test_re_weighting_does_not_hold_the_plateau_of_earlier_stages_back():
    assert stage_is_over(recipe(drw={"start_epoch": 16}), at(0, FLAT[:3]))


def watching(stage, values, losses):
    """Where a run stands in a stage that watches another metric than the validation loss."""
    position = Position(stage=stage)
    for value, loss in zip(values, losses, strict=True):
        position = position.after_epoch(loss, value)
    return position


@pytest.mark.parametrize(
    ("stage", "values", "losses", "over"),
    [
        pytest.param(0, [0.2, 0.4, 0.6], FLAT[:3], False, id="the score rises, though the loss is flat"),
        pytest.param(0, [0.6, 0.6, 0.5], FALLING[:3], True, id="the score is flat, though the loss falls"),
        pytest.param(1, [0.2, 0.4, 0.6, 0.8], FLAT[:4], False, id="early stop watches it in the last stage"),
        pytest.param(1, [0.6, 0.6, 0.5, 0.4], FALLING[:4], True, id="and ends the run on it"),
    ],
)
def test_a_stage_ends_by_the_metric_that_it_watches(stage, values, losses, over):
    stages = [
        {"name": "head", "unfreeze_from": "head", "epochs": 10, "plateau": {**PATIENT_2, "metric": "kappa"}},
        {"name": "all", "unfreeze_from": "all", "epochs": 10},
    ]
    made = recipe(stages=stages, early_stop={**PATIENT_3, "metric": "kappa"})
    assert stage_is_over(made, watching(stage, values, losses)) is over


@pytest.mark.parametrize(
    ("plateau", "in_head", "in_blocks"),
    [
        pytest.param({}, (8, 0.002), (5, 0.005), id="a head alone is given more time"),
        pytest.param({"patience": 3}, (3, 0.002), (3, 0.005), id="one of the two given"),
        pytest.param({"patience": 3, "threshold": 0.1}, (3, 0.1), (3, 0.1), id="both given"),
    ],
)
def test_a_head_alone_has_defaults_of_its_own(plateau, in_head, in_blocks):
    stages = [
        {"name": "head", "unfreeze_from": "head", "plateau": plateau},
        {"name": "top", "unfreeze_from": "last:1", "plateau": plateau},
        {"name": "all", "unfreeze_from": "all"},
    ]
    rules = [recipe(stages=stages, early_stop={}).ending_rule(i) for i in range(3)]
    assert [(rule.patience, rule.threshold) for rule in rules] == [in_head, in_blocks, (15, 0.001)]


@pytest.mark.parametrize(
    ("freeze_head_at", "opened", "rests"),
    [
        ("first_opening", ["head", "last:1", "last:2"], [0, 3, 0]),
        ("every_opening", ["head", "last:1", "last:2"], [0, 3, 3]),
        ("every_opening", ["last:1", "last:2", "last:1", "all"], [0, 3, 0, 3]),
        ("first_opening", ["last:1", "all"], [0, 0]),
    ],
)
def test_the_head_rests_where_blocks_open(freeze_head_at, opened, rests):
    stages = [{"name": f"s{i}", "unfreeze_from": block, "epochs": 9} for i, block in enumerate(opened)]
    made = recipe(stages=stages, freeze_head_at=freeze_head_at)
    assert [made.head_frozen_epochs(i) for i in range(len(stages))] == rests


def test_a_position_counts_epochs_and_collects_losses():
    start = Position()
    assert (start.epoch, start.stage, start.epoch_in_stage, start.losses) == (0, 0, 0, ())
    later = start.after_epoch(0.7).after_epoch(0.5)
    assert later == Position(epoch=2, stage=0, epoch_in_stage=2, losses=(0.7, 0.5))
    assert start == Position()


def test_the_next_stage_starts_afresh_but_the_run_goes_on():
    later = Position().after_epoch(0.7).after_epoch(0.5).next_stage()
    assert later == Position(epoch=2, stage=1)
    assert later.after_epoch(0.4) == Position(epoch=3, stage=1, epoch_in_stage=1, losses=(0.4,))


def plans(stages, *, stage):
    """What each epoch of a stage trains."""
    made = recipe(stages=stages)
    return [plan_epoch(made, at(stage, FLAT[:done])) for done in range(made.train.stages[stage].epochs)]


HEAD_ONLY = {"name": "head", "unfreeze_from": "head", "epochs": 4, "head_lr": 0.1}
FROM_LAYER4 = {"name": "tail", "unfreeze_from": "layer4", "epochs": 5, "head_lr": 0.1, "backbone_lr": 0.01}


def test_a_head_only_stage_opens_no_block():
    first = plans([HEAD_ONLY], stage=0)[0]
    assert first.opening == Opening(cut=5, head=True)
    assert (first.head_lr, first.backbone_lr) == (0.1, 0)


def test_the_head_rests_while_the_blocks_under_it_warm_up():
    epochs = plans([HEAD_ONLY, FROM_LAYER4], stage=1)
    assert [plan.opening for plan in epochs] == [Opening(cut=4, head=head) for head in (False,) * 3 + (True,) * 2]
    assert [plan.head_lr for plan in epochs] == [0, 0, 0, 0.1, 0.1]
    assert [plan.backbone_lr for plan in epochs] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, 0.01, 0.01])


def test_the_heads_own_schedule_begins_when_the_head_does():
    stage = {**FROM_LAYER4, "head_frozen_epochs": 1, "head_warmup_epochs": 2}
    assert [plan.head_lr for plan in plans([stage], stage=0)] == pytest.approx([0, 0.05, 0.1, 0.1, 0.1])


@pytest.mark.parametrize(
    ("stage", "done", "reweighted"),
    [
        pytest.param(0, 3, False, id="in the first stage"),
        pytest.param(1, 4, False, id="the epoch before"),
        pytest.param(1, 5, True, id="the epoch itself, though the stage before ended after 3 of its 10"),
        pytest.param(1, 9, True, id="and from then on"),
    ],
)
def test_re_weighting_starts_by_the_plan_however_early_stages_end(stage, done, reweighted):
    made = recipe(drw={"start_epoch": 16})
    assert plan_epoch(made, at(stage, FLAT[:done], before=3 * stage)).reweighted is reweighted


def test_without_deferral_nothing_is_re_weighted():
    assert not plan_epoch(recipe(), at(1, FLAT[:9], before=3)).reweighted


def test_head_and_blocks_warm_up_and_decay_each_at_its_own_rate():
    stage = {**FROM_LAYER4, "schedule": "cosine", "head_warmup_epochs": 1, "backbone_warmup_epochs": 3}
    epochs = plans([stage], stage=0)
    assert [plan.head_lr for plan in epochs] == pytest.approx(
        [0.1, 0.1, 0.05 * (1 + math.sqrt(0.5)), 0.05, 0.05 * (1 - math.sqrt(0.5))]
    )
    assert [plan.backbone_lr for plan in epochs] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, 0.01, 0.005])


CYCLE = (1 / 25, 1, 1 / 25e4)
"""The first, highest and last factor."""


def test_one_cycle_does_not_start_anew_in_a_stage():
    stages = [{**HEAD_ONLY, "plateau": None}, {**FROM_LAYER4, "head_frozen_epochs": 0, "plateau": None}]
    made = recipe(stages=stages, one_cycle={"warmup_fraction": 0.5})
    expected = [0.1 * one_cycle((epoch + 0.5) / 9, peak=0.5, end=1, values=CYCLE) for epoch in range(9)]
    first = [plan_epoch(made, at(0, FLAT[:done])) for done in range(4)]
    second = [plan_epoch(made, at(1, FLAT[:done], before=4)) for done in range(5)]
    assert [plan.head_lr for plan in first + second] == pytest.approx(expected)
    assert [plan.backbone_lr for plan in first + second] == pytest.approx([0] * 4 + [lr / 10 for lr in expected[4:]])


def test_one_cycle_comes_to_its_end_though_a_stage_ended_early():
    stages = [HEAD_ONLY, {**FROM_LAYER4, "head_frozen_epochs": 0}]
    made = recipe(stages=stages, one_cycle={})
    last = plan_epoch(made, at(1, FLAT[:4], before=2))
    assert last.head_lr == pytest.approx(0.1 * one_cycle(8.5 / 9, peak=0.3, end=1, values=CYCLE))


def test_one_cycle_rests_with_the_head():
    made = recipe(stages=[HEAD_ONLY, FROM_LAYER4], one_cycle={})
    assert [plan_epoch(made, at(1, FLAT[:done], before=4)).head_lr > 0 for done in range(5)] == [False] * 3 + [True] * 2


def test_the_learning_rate_drops_on_this_stages_losses_only():
    stage = {**FROM_LAYER4, "head_frozen_epochs": 0, "backbone_warmup_epochs": 0}
    made = recipe(stages=[HEAD_ONLY, {**stage, "schedule": {"kind": "reduce_on_plateau", "patience": 1}}])
    rates = [plan_epoch(made, at(1, FLAT[:done], before=4)).backbone_lr for done in range(5)]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.005, 0.005])


# --- what can be held against a run ---------------------------------------------------------------------------------


def epochs(n, *, stage=0, before=0):
    return at(stage, FLAT[:n], before=before)


@pytest.mark.parametrize(
    ("position", "train", "settled"),
    [
        pytest.param(epochs(1), {}, False, id="the first epoch"),
        pytest.param(epochs(3), {}, False, id="the third"),
        pytest.param(epochs(4), {}, True, id="the fourth"),
        pytest.param(epochs(3, stage=1, before=9), {}, False, id="a later stage begins anew"),
        pytest.param(epochs(4, stage=1, before=9), {}, True, id="and settles as soon"),
        pytest.param(epochs(5), {"stages": one_stage(head_warmup_epochs=5)}, False, id="the head warms up"),
        pytest.param(epochs(6), {"stages": one_stage(head_warmup_epochs=5)}, True, id="it is warm"),
        pytest.param(
            epochs(6), {"stages": one_stage(backbone_warmup_epochs=9)}, True, id="no block is open that could warm up"
        ),
        pytest.param(
            epochs(6),
            {"stages": one_stage(unfreeze_from="all", backbone_warmup_epochs=6)},
            False,
            id="open blocks warm up",
        ),
        pytest.param(
            epochs(7), {"stages": one_stage(unfreeze_from="all", backbone_warmup_epochs=6)}, True, id="they are warm"
        ),
        pytest.param(
            epochs(6),
            {"stages": one_stage(unfreeze_from="all", head_frozen_epochs=4, head_warmup_epochs=2)},
            False,
            id="the head warms up after its rest",
        ),
        pytest.param(epochs(6), {"cosine": {"backbone_warmup_epochs": 6}}, False, id="the run warms up"),
        pytest.param(epochs(7), {"cosine": {"backbone_warmup_epochs": 6}}, True, id="the run is warm"),
        pytest.param(epochs(5), {"drw": {"start_epoch": 6}}, True, id="re-weighting is ahead"),
        pytest.param(epochs(6), {"drw": {"start_epoch": 6}}, False, id="re-weighting begins"),
        pytest.param(epochs(8), {"drw": {"start_epoch": 6}}, False, id="its third epoch"),
        pytest.param(epochs(9), {"drw": {"start_epoch": 6}}, True, id="its fourth"),
        pytest.param(epochs(4, stage=1, before=2), {"drw": {"start_epoch": 6}}, True, id="it is timed by the plan"),
    ],
)
def test_the_first_epochs_after_a_change_are_not_held_against_a_run(position, train, settled):
    assert has_settled(recipe(**train), position) is settled


@pytest.mark.parametrize(
    ("start_epoch", "pending"),
    [
        (None, [False] * 8),
        (1, [True] * 3 + [False] * 5),  # its first three epochs
        (4, [True] * 6 + [False] * 2),
        (8, [True] * 8),
    ],
)
def test_re_weighting_is_pending_until_it_has_settled(start_epoch, pending):
    drw = {} if start_epoch is None else {"drw": {"start_epoch": start_epoch}, "loss": {"kind": "ldam"}}
    run = recipe(**drw)
    ends = [Position(stage=0, epoch=1, epoch_in_stage=epoch) for epoch in range(1, 9)]
    assert [drw_is_pending(run, position) for position in ends] == pending
