"""What means over seeds say, and differences seed by seed."""

import math

import numpy as np
import pytest
from scipy import stats

from results_analysis.statistics.paired_seeds import estimate, paired_difference, seeds_to_tell

SCORES = [0.80, 0.84, 0.79, 0.83]


def test_an_interval_is_students():
    found = estimate(SCORES)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(SCORES), scale=stats.sem(SCORES))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.deviation == pytest.approx(np.std(SCORES, ddof=1))
    assert str(found) == "0.8150 ± 0.0238"


def test_one_seed_has_no_interval():
    found = estimate([0.8])
    assert (found.mean, found.seeds) == (0.8, 1)
    assert math.isnan(found.low)
    assert not found.excludes_zero
    assert str(found) == "0.8000"


def test_intervals_that_hold_together_are_wider():
    alone, together = estimate(SCORES), estimate(SCORES, comparisons=2)
    low, _ = stats.t.interval(0.975, 3, loc=np.mean(SCORES), scale=stats.sem(SCORES))
    assert together.low == pytest.approx(low)
    assert together.low < alone.low


def test_what_a_seed_does_to_both_is_taken_out():
    # The seeds move both by far more than they differ: beside each other they cannot be told apart, seed by seed they can.
    of = {1: 0.70, 2: 0.80, 3: 0.90}
    than = {1: 0.69, 2: 0.788, 3: 0.891}
    found = paired_difference(of, than)
    assert found.mean == pytest.approx(0.0103, abs=1e-4)
    assert found.excludes_zero
    assert not (estimate(list(of.values())).low > estimate(list(than.values())).high)


def test_only_common_seeds_are_compared():
    assert paired_difference({1: 0.5, 2: 0.9}, {2: 0.8, 3: 0.1}).mean == pytest.approx(0.1)
    assert paired_difference({1: 0.5}, {2: 0.5}) is None


@pytest.mark.parametrize(
    ("differences", "enough"),
    [([0.01, 0.012, 0.011], 2), ([0.01, -0.01, 0.015, 0.0], range(15, 60)), ([0.01], None), ([0.01, -0.01], None)],
)
def test_how_many_seeds_would_tell(differences, enough):
    found = seeds_to_tell(estimate(differences))
    assert found == enough if not isinstance(enough, range) else found in enough
