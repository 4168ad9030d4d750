"""MixUp and CutMix, each image with a share of its own: what is drawn, and what comes of it."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from trainables.data.batches.mixing import Mixing, draw_mixing, mixed
from trainables.recipe.augment_config import Mix

MANY = 4000


def draw(count=MANY, *, size=32, seed=0, **config):
    return draw_mixing(Mix(**config), np.random.RandomState(seed), count, size=size, device="cpu")


def areas(mixing):
    left, top, right, bottom = mixing.rectangles.unbind(dim=1)
    assert (left <= right).all()
    assert (top <= bottom).all()
    return (right - left) * (bottom - top)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_draws_a_share_for_each_image_from_its_beta_distribution(alpha):
    mixing = draw(mixup_alpha=alpha)
    assert mixing.rectangles is None
    assert stats.kstest(mixing.share.double().numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_cutmix_leaves_the_share_that_lies_outside_the_rectangle():
    mixing = draw(cutmix_alpha=1.0, size=32)
    assert mixing.rectangles.min() == 0
    assert mixing.rectangles.max() == 32
    assert torch.equal(mixing.share, 1 - areas(mixing) / 32**2)


def test_rectangles_have_the_drawn_area_where_no_border_is_in_their_way():
    """Half the side or less, centred: what is lost over the border is lost from the area, never added to it."""
    size = 1000
    random = np.random.RandomState(3)
    mixing = draw_mixing(Mix(cutmix_alpha=1.0), random, MANY, size=size, device="cpu")
    left, top, right, bottom = mixing.rectangles.unbind(dim=1)
    inside = (left > 0) & (top > 0) & (right < size) & (bottom < size) & (right > left)
    assert inside.sum() > 500
    assert torch.equal((right - left)[inside], (bottom - top)[inside]), "of the image's proportions"
    # The side is that of a uniform share of the area, and the smaller it is the less often it meets a border:
    # of a side s, the centre stays within with probability (1 - s)².
    sides = ((right - left)[inside] / size).double().numpy()
    expected = stats.beta(2, 3).cdf  # density ∝ 2s · (1 - s)²
    assert stats.kstest(sides, expected).pvalue > 0.01


def test_where_both_are_given_each_image_gets_one_of_them():
    mixing = draw(mixup_alpha=1.0, cutmix_alpha=1.0)
    cut = areas(mixing) > 0
    assert 0.45 < cut.double().mean() < 0.55
    averaged = mixing.share[~cut]
    assert ((averaged > 0) & (averaged < 1)).double().mean() > 0.95


@pytest.mark.parametrize(
    "config", [{"mixup_alpha": 1.0}, {"cutmix_alpha": 1.0}, {"mixup_alpha": 0.4, "cutmix_alpha": 1}]
)
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_share_of_the_images_is_mixed(config, probability):
    mixing = draw(**config, probability=probability)
    kept = (mixing.share == 1).double().mean().item()
    assert kept == pytest.approx(1 - probability, abs=0.03)
    if probability == 0:
        values = torch.randn(MANY, 1, 8, 8)
        assert torch.equal(mixed(values, draw(**config, probability=0.0, size=8)), values)


def test_partners_are_all_others_alike():
    batches = [draw(5, seed=seed, mixup_alpha=1.0).partners for seed in range(2000)]
    pairs = torch.zeros(5, 5)
    for partners in batches:
        pairs[torch.arange(5), partners] += 1
    assert pairs.diagonal().tolist() == [0.0] * 5, "nobody is mixed with itself"
    assert pairs[~torch.eye(5, dtype=torch.bool)].sub(500).abs().max() < 100


def test_a_lone_image_stays_what_it_is():
    mixing = draw(1, mixup_alpha=1.0)
    values = torch.randn(1, 3, 4, 4)
    assert mixing.partners.tolist() == [0]
    assert torch.allclose(mixed(values, mixing), values)


def test_the_same_numbers_give_the_same_mixing():
    first, again, other = (draw(50, seed=seed, mixup_alpha=0.2, cutmix_alpha=1.0) for seed in (1, 1, 2))
    assert torch.equal(first.share, again.share)
    assert torch.equal(first.partners, again.partners)
    assert torch.equal(first.rectangles, again.rectangles)
    assert not torch.equal(first.share, other.share)


@pytest.mark.parametrize("shape", [(3, 7), (3, 2, 4, 4)], ids=["pooled features", "feature maps"])
def test_an_average_is_the_formula(shape):
    values = torch.randn(shape)
    mixing = Mixing(partners=torch.tensor([2, 0, 1]), share=torch.tensor([0.25, 1.0, 0.5]))
    by_hand = [0.25 * values[0] + 0.75 * values[2], values[1], 0.5 * values[2] + 0.5 * values[1]]
    assert torch.allclose(mixed(values, mixing), torch.stack(by_hand))


def test_a_rectangle_is_the_partners_and_all_else_the_images_own():
    values = torch.arange(4 * 1 * 4 * 4.0).view(4, 1, 4, 4)
    mixing = Mixing(
        partners=torch.tensor([1, 2, 3, 0]),
        share=torch.tensor([10 / 16, 1.0, 0.5, 0.0]),
        rectangles=torch.tensor([[1, 0, 3, 3], [2, 2, 2, 4], [0, 0, 0, 0], [0, 0, 4, 4]]),
    )
    result = mixed(values, mixing)
    by_hand = values.clone()
    by_hand[0, :, 0:3, 1:3] = values[1, :, 0:3, 1:3]  # rows 0 to 2, columns 1 and 2
    by_hand[2] = 0.5 * values[2] + 0.5 * values[3]
    by_hand[3] = values[0]
    assert torch.equal(result, by_hand)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_what_it_is(dtype):
    values = torch.randn(6, 5).to(dtype)
    assert mixed(values, draw(6, mixup_alpha=1.0)).dtype == dtype


def test_images_stay_channels_last():
    values = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    result = mixed(values, draw(4, size=8, mixup_alpha=1.0, cutmix_alpha=1.0))
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "needs mixup_alpha, cutmix_alpha or both"),
        ({"probability": 0.5}, "needs mixup_alpha, cutmix_alpha or both"),
        ({"cutmix_alpha": 1.0, "at": "cut"}, "'cut' works with MixUp only, because CutMix cuts rectangles from images"),
        ({"mixup_alpha": 0.0}, "greater than 0"),
        ({"mixup_alpha": 0.2, "probability": 1.5}, "less than or equal to 1"),
        ({"mixup_alpha": 0.2, "at": "output"}, "'input' or 'cut'"),
    ],
)
def test_what_cannot_be_mixed_is_an_error(config, message):
    with pytest.raises(ValidationError, match=message):
        Mix(**config)
