import math
from functools import partial

import numpy as np
import pytest
import torch

from trainables.recipe.recipe import parse_recipe
from trainables.recipe.stage_config import Constant, Cosine, ReduceOnPlateau, Step
from trainables.training.learning_rates import (
    cosine_factor,
    drops_on_plateau,
    learning_rate,
    one_cycle,
    rates_of_epoch,
    warmup_factor,
)


@pytest.mark.parametrize(
    ("warmup_epochs", "factors"),
    [
        (3, [1 / 3, 2 / 3, 1, 1, 1]),
        (1, [1, 1]),
        (0, [1, 1]),
    ],
)
def test_warm_up_rises_linearly_to_one_and_stays(warmup_epochs, factors):
    assert [warmup_factor(epoch, warmup_epochs) for epoch in range(len(factors))] == pytest.approx(factors)


def test_cosine_falls_from_one_and_would_reach_zero_one_epoch_after_the_last():
    factors = [cosine_factor(epoch, warmup=0, length=4) for epoch in range(4)]
    assert factors == pytest.approx([1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)])


CONSTANT, COSINE = Constant(), Cosine(kind="cosine", min_lr=0)
STEP = Step(kind="step", every_epochs=2, factor=0.5, min_lr=0)
ON_PLATEAU = ReduceOnPlateau(kind="reduce_on_plateau", patience=1, threshold=0.0, factor=0.5, min_lr=0)
BY_KIND = pytest.mark.parametrize("schedule", [CONSTANT, COSINE, STEP, ON_PLATEAU], ids=lambda schedule: schedule.kind)


@pytest.mark.parametrize(
    ("schedule", "warmup_epochs", "epochs", "factors"),
    [
        (CONSTANT, 0, 3, [1, 1, 1]),
        (CONSTANT, 2, 4, [1 / 2, 1, 1, 1]),
        (COSINE, 3, 5, [1 / 3, 2 / 3, 1, 1, 0.5]),  # 1 both at the end of the warm-up and right after it
        (COSINE, 0, 2, [1, 0.5]),
        (COSINE, 0, 1, [1]),
        (COSINE, 3, 3, [1 / 3, 2 / 3, 1]),  # nothing is left for the cosine
        (COSINE, 3, 2, [1 / 2, 1]),  # a warm-up longer than the stage takes all of it
        (COSINE, 4, 1, [1]),
        (STEP, 0, 5, [1, 1, 1 / 2, 1 / 2, 1 / 4]),
        (STEP, 2, 6, [1 / 2, 1, 1, 1, 1 / 2, 1 / 2]),  # steps are counted from the end of the warm-up
    ],
)
def test_the_learning_rate_warms_up_and_then_follows_the_schedule(schedule, warmup_epochs, epochs, factors):
    got = [learning_rate(schedule, 0.2, epoch, warmup=warmup_epochs, length=epochs) for epoch in range(epochs)]
    assert got == pytest.approx([0.2 * factor for factor in factors])


@pytest.mark.parametrize(
    ("losses", "patience", "drops"),
    [
        pytest.param([], 0, 0, id="nothing has run"),
        pytest.param([1.0, 0.9, 0.8], 0, 0, id="falling"),
        pytest.param([1.0, 1.0], 0, 1, id="no patience"),
        pytest.param([1.0, 1.0, 1.0], 2, 0, id="patience lasts"),
        pytest.param([1.0, 1.0, 1.0, 1.0], 2, 1, id="and ends"),
        pytest.param([1.0] * 7, 2, 2, id="the wait starts anew"),
        pytest.param([1.0, 1.0, 0.5, 0.6, 0.6], 1, 1, id="a new low starts it anew, too"),
        pytest.param([math.nan] * 3, 1, 1, id="NaN never improves"),
    ],
)
def test_drops_on_plateau(losses, patience, drops):
    assert drops_on_plateau(losses, patience=patience, threshold=0.0) == drops


def test_drops_are_counted_as_torch_counts_them():
    random = np.random.default_rng(0)
    for _ in range(50):
        losses = (1 + random.normal(0, 0.1, 30)).tolist()
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=2, threshold=0.02, threshold_mode="abs"
        )
        for done, loss in enumerate(losses, start=1):
            scheduler.step(loss)
            drops = drops_on_plateau(losses[:done], patience=2, threshold=0.02)
            assert optimizer.param_groups[0]["lr"] == 0.5**drops


def test_the_learning_rate_drops_when_the_loss_does_not():
    rates = [learning_rate(ON_PLATEAU, 0.2, done, warmup=1, length=9, losses=[1.0] * done) for done in range(6)]
    assert rates == pytest.approx([0.2, 0.2, 0.2, 0.1, 0.1, 0.05])


@pytest.mark.parametrize(
    ("schedule", "last"),
    [
        (Cosine(kind="cosine", min_lr=0.05), 0.05),
        (Step(kind="step", every_epochs=1, min_lr=0.05), 0.05),
        (ReduceOnPlateau(kind="reduce_on_plateau", patience=0, min_lr=0.05), 0.05),
        (Cosine(kind="cosine", min_lr=7.0), 0.2),
    ],
)
def test_the_learning_rate_does_not_fall_below_its_floor_nor_rise_to_it(schedule, last):
    assert learning_rate(schedule, 0.2, 19, warmup=0, length=20, losses=[1.0] * 19) == pytest.approx(last)


@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 300])
@pytest.mark.parametrize("warmup_epochs", [0, 1, 3, 12])
@BY_KIND
def test_no_epoch_is_dead_and_none_exceeds_the_peak(schedule, warmup_epochs, epochs):
    rates = [
        learning_rate(schedule, 0.2, done, warmup=warmup_epochs, length=epochs, losses=[1.0] * done)
        for done in range(epochs)
    ]
    assert all(0 < rate <= 0.2 for rate in rates)
    if schedule is not ON_PLATEAU:
        after = rates[warmup_epochs:]
        assert after == sorted(after, reverse=True)


# --- curves over all stages, and by the step -------------------------------------------------------------------------

OPEN = {"unfreeze_from": "all", "head_frozen_epochs": 0, "head_lr": 0.1, "backbone_lr": 0.01, "plateau": None}
STEPS = {0: 4, 1: 7, 2: 3}
"""Optimizer steps in an epoch of each stage."""


def recipe_with(stages, **train):
    data = {"source": "digits", "image_size": 32}
    named = [{**OPEN, "name": f"s{i}", **stage} for i, stage in enumerate(stages)]
    return parse_recipe(
        {"data": data, "model": {"backbone": "resnet18"}, "train": {"stages": named, "early_stop": None, **train}}
    )


def rates_of_run(recipe):
    """Rates of all steps, or epochs, of a run whose stages use all their epochs."""
    return [
        rates
        for i, stage in enumerate(recipe.train.stages)
        for epoch in range(stage.epochs)
        for rates in rates_of_epoch(recipe, i, epoch, steps_in_epoch=STEPS.get)
    ]


def rates_of_torch(schedule, steps, *, momentum=0.9, kind=torch.optim.SGD):
    """Learning rates of head and backbone, and the momentum, of each step of a scheduler of torch."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.01)]
    options = {"momentum": momentum} if kind is torch.optim.SGD else {"betas": (momentum, 0.999)}
    optimizer = kind(groups, **options)
    scheduler, rates = schedule(optimizer), []
    for _ in range(steps):
        head, backbone = optimizer.param_groups
        now = head["momentum"] if kind is torch.optim.SGD else head["betas"][0]
        rates.append((head["lr"], backbone["lr"], now))
        optimizer.step()
        scheduler.step()
    return rates


def same(found, expected):
    return [list(rates) for rates in found] == [pytest.approx(rates, rel=1e-12, abs=1e-16) for rates in expected]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("momentum", [None, {}, {"low": 0.5, "high": 0.9}])
@pytest.mark.parametrize("shape", [{}, {"warmup_fraction": 0.6, "start_divisor": 10, "end_divisor": 100}])
def test_one_cycle_by_the_step_is_torchs_own(kind, momentum, shape):
    stages = [{"epochs": 3}, {"epochs": 2, "lr_scale": 1.0, "head_lr": 0.1}, {"epochs": 2}]
    recipe = recipe_with(stages, one_cycle={**shape, "momentum": momentum}, schedule_by="step")
    steps = 3 * 4 + 2 * 7 + 2 * 3
    low, high = (momentum or {}).get("low", 0.85), (momentum or {}).get("high", 0.95)
    curve = partial(
        torch.optim.lr_scheduler.OneCycleLR,
        max_lr=[0.1, 0.01],
        total_steps=steps,
        pct_start=shape.get("warmup_fraction", 0.3),
        div_factor=shape.get("start_divisor", 25),
        final_div_factor=shape.get("end_divisor", 1e4),
        cycle_momentum=momentum is not None,
        base_momentum=low,
        max_momentum=high,
    )
    assert same(rates_of_run(recipe), rates_of_torch(curve, steps, kind=kind))


def warm_up_and_cosine(optimizer, *, warmup, length):
    rising, falling = torch.optim.lr_scheduler.LinearLR, torch.optim.lr_scheduler.CosineAnnealingLR
    parts = [rising(optimizer, start_factor=1 / warmup, total_iters=warmup - 1), falling(optimizer, length - warmup)]
    return torch.optim.lr_scheduler.SequentialLR(optimizer, parts, milestones=[warmup])


def test_a_stages_warm_up_and_cosine_by_the_step_are_torchs_own():
    schedule = {"schedule": {"kind": "cosine", "min_lr": 0}, "head_warmup_epochs": 2, "backbone_warmup_epochs": 2}
    recipe = recipe_with([{"epochs": 3} | schedule, {"epochs": 5} | schedule], schedule_by="step")
    expected = [
        rates
        for epochs, steps in ((3, 4), (5, 7))
        for rates in rates_of_torch(
            partial(warm_up_and_cosine, warmup=2 * steps, length=epochs * steps), epochs * steps
        )
    ]
    assert same(rates_of_run(recipe), expected)


@pytest.mark.parametrize("by", ["epoch", "step"])
def test_a_cosine_over_the_run_is_torchs_own_whatever_its_stages(by):
    cosine = {"head_warmup_epochs": 4, "backbone_warmup_epochs": 4, "min_lr": 0}
    recipe = recipe_with([{"epochs": 3}, {"epochs": 5}, {"epochs": 2}], cosine=cosine, schedule_by=by)
    warmup, length = (4, 10) if by == "epoch" else (3 * 4 + 7, 3 * 4 + 5 * 7 + 2 * 3)
    expected = rates_of_torch(partial(warm_up_and_cosine, warmup=warmup, length=length), length)
    assert same(rates_of_run(recipe), expected)


def test_a_cosine_over_the_run_warms_up_head_and_backbone_each_at_its_own_pace_and_keeps_its_floor():
    cosine = {"head_warmup_epochs": 1, "backbone_warmup_epochs": 2, "min_lr": 0.002}
    rates = rates_of_run(recipe_with([{"epochs": 2}, {"epochs": 2, "lr_scale": 0.5}], cosine=cosine))
    assert [rate.head_lr for rate in rates] == pytest.approx([0.1, 0.1, 0.05 * 0.75, 0.05 * 0.25])
    assert [rate.backbone_lr for rate in rates] == pytest.approx([0.005, 0.01, 0.005, 0.0025])


def test_steps_drop_after_whole_epochs_whatever_learning_rates_follow():
    stage = {"epochs": 4, "schedule": {"kind": "step", "every_epochs": 2}, "backbone_warmup_epochs": 1}
    by_epoch, by_step = (rates_of_run(recipe_with([stage], schedule_by=by)) for by in ("epoch", "step"))
    assert [rate.head_lr for rate in by_step] == [rate.head_lr for rate in by_epoch for _ in range(4)]
    assert [rate.backbone_lr for rate in by_step[:5]] == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01])


@pytest.mark.parametrize("by", ["epoch", "step"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup_fraction", [0.0, 0.25, 0.3, 0.5, 1.0])
def test_one_cycle_is_finite_on_the_tiniest_of_runs(warmup_fraction, epochs, by):
    cycle = {"warmup_fraction": warmup_fraction, "momentum": {}}
    rates = rates_of_run(recipe_with([{"epochs": epochs}], one_cycle=cycle, schedule_by=by))
    assert all(0 < rate.head_lr <= 0.1 + 1e-12 and 0.85 <= rate.momentum <= 0.95 for rate in rates)


def test_one_cycle_begins_peaks_and_ends_where_it_says():
    curve = partial(one_cycle, peak=0.3, end=1, values=(1 / 25, 1.0, 1 / 25e4))
    assert [curve(share) for share in (0, 0.3, 1)] == pytest.approx([1 / 25, 1, 1 / 25e4])
