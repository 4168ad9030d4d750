"""Targets on other scales: back to their own unit without loss, learned from the training images alone."""

import math

import numpy as np
import pytest
import torch

from trainables.tasks.target_scale import fitted_scale

RANDOM = np.random.default_rng(0)
SKEWED = np.exp(RANDOM.normal(3, 2, 3000))
TIED = np.round(RANDOM.exponential(2, 500))
TRANSFORMS = ["none", "log", "log1p", "rank", "rank_normal"]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("targets", [SKEWED, TIED + 1, np.array([1.0, 2.0])], ids=["skewed", "tied", "two"])
def test_a_target_comes_back_in_its_own_unit(transform, targets):
    scale, own = fitted_scale(targets, transform), torch.from_numpy(targets)
    outputs = scale.outputs(own)
    assert outputs.mean().item() == pytest.approx(0, abs=1e-9)
    assert outputs.std(correction=0).item() == pytest.approx(1)
    torch.testing.assert_close(scale.targets(outputs), own, rtol=1e-6, atol=0.02 if "rank" in transform else 1e-9)
    torch.testing.assert_close(scale.targets(outputs[:, None]), scale.targets(outputs)[:, None])  # as ONNX computes it


def test_ranks_are_even_and_normal_scores_are_normal():
    even, normal = (fitted_scale(SKEWED, name) for name in ("rank", "rank_normal"))
    levels = even.outputs(torch.from_numpy(SKEWED)) * even.std + even.mean
    assert levels.sort().values.numpy() == pytest.approx((np.arange(3000) + 0.5) / 3000, abs=1e-3)
    scores = normal.outputs(torch.from_numpy(SKEWED)) * normal.std + normal.mean
    quartile = torch.quantile(scores, 0.75).item()
    assert quartile == pytest.approx(0.6745, abs=0.01)


def test_equal_targets_have_the_middle_of_their_ranks():
    scale = fitted_scale(np.array([1.0, 5.0, 5.0, 9.0]), "rank")
    assert (scale.knots, scale.levels) == ((1, 5, 9), (0.125, 0.5, 0.875))


@pytest.mark.parametrize(
    ("transform", "low", "high"), [("rank", 1, 100), ("rank_normal", 1, 100), ("log", 0.01, 1e4), ("log1p", -1, 5100)]
)
def test_predictions_have_limits_that_no_float_exceeds(transform, low, high):
    scale = fitted_scale(np.array([1.0, 10.0, 100.0]), transform)
    found = scale.targets(torch.tensor([-1e6, 1e6], dtype=torch.float64)).tolist()
    assert all(math.isfinite(number) for number in found)
    assert found[0] == pytest.approx(low, abs=0.97)
    assert found[1] == pytest.approx(high, rel=0.02)
