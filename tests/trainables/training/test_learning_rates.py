import math

import numpy as np
import pytest
import torch

from trainables.recipe.stage_config import Constant, Cosine, OneCycle, ReduceOnPlateau, Step
from trainables.training.learning_rates import (
    cosine_factor,
    drops_on_plateau,
    learning_rate,
    one_cycle_factor,
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
    factors = [cosine_factor(epoch, warmup_epochs=0, epochs=4) for epoch in range(4)]
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
    got = [learning_rate(schedule, 0.2, epoch, warmup_epochs=warmup_epochs, epochs=epochs) for epoch in range(epochs)]
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
    rates = [learning_rate(ON_PLATEAU, 0.2, done, warmup_epochs=1, epochs=9, losses=[1.0] * done) for done in range(6)]
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
    assert learning_rate(schedule, 0.2, 19, warmup_epochs=0, epochs=20, losses=[1.0] * 19) == pytest.approx(last)


@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 300])
@pytest.mark.parametrize("warmup_epochs", [0, 1, 3, 12])
@BY_KIND
def test_no_epoch_is_dead_and_none_exceeds_the_peak(schedule, warmup_epochs, epochs):
    rates = [
        learning_rate(schedule, 0.2, done, warmup_epochs=warmup_epochs, epochs=epochs, losses=[1.0] * done)
        for done in range(epochs)
    ]
    assert all(0 < rate <= 0.2 for rate in rates)
    if schedule is not ON_PLATEAU:
        after = rates[warmup_epochs:]
        assert after == sorted(after, reverse=True)


# --- one curve for all stages ---------------------------------------------------------------------------------------


def test_one_cycle_is_drawn_as_torch_draws_it():
    steps, config = 40, OneCycle(warmup_fraction=0.25, start_divisor=10, end_divisor=100)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps + 1, pct_start=11 / 41, div_factor=10, final_div_factor=100
    )
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert [one_cycle_factor(step / steps, config) for step in range(steps)] == pytest.approx(rates)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup_fraction", [0.0, 0.3, 0.5, 1.0])
def test_one_cycle_is_finite_on_the_tiniest_of_runs(warmup_fraction, epochs):
    config = OneCycle(warmup_fraction=warmup_fraction)
    factors = [one_cycle_factor((epoch + 0.5) / epochs, config) for epoch in range(epochs)]
    assert all(0 < factor <= 1 for factor in factors)


def test_one_cycle_begins_peaks_and_ends_where_it_says():
    config = OneCycle(warmup_fraction=0.3, start_divisor=25, end_divisor=1e4)
    assert [one_cycle_factor(progress, config) for progress in (0, 0.3, 1)] == pytest.approx([1 / 25, 1, 1 / 25e4])
