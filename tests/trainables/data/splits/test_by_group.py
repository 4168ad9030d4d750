"""Groups stay whole, classes are on every side, shares come near; else it is said which class cannot be and why."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.core.config_errors import ConfigError
from trainables.data.splits.by_group import grouped_sides


def deal(labels, groups, shares=(0.8, 0.2), seed=0, place="validation") -> np.ndarray:
    labels, groups = np.asarray(labels), np.asarray(groups)
    classes = [f"class {j}" for j in range(labels.max() + 1)]
    return grouped_sides(labels, groups, list(shares), seed, classes=classes, place=place)


def patients(counts, per_patient, seed=0):
    """Images of some classes, each patient's of one class; in no order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    groups = np.concatenate([np.arange(n) // per_patient + 1000 * j for j, n in enumerate(counts)])
    order = np.random.RandomState(seed).permutation(len(labels))
    return labels[order], groups[order]


def sides_of(groups, side) -> dict[int, set[int]]:
    return {g: set(side[groups == g].tolist()) for g in np.unique(groups).tolist()}


IMAGES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=4, max_size=120)
SHARES = st.one_of(
    st.floats(0.05, 0.95).map(lambda share: (1 - share, share)), st.integers(2, 5).map(lambda k: (1 / k,) * k)
)


@given(images=IMAGES, shares=SHARES, seed=st.integers(0, 2**70))
@settings(max_examples=300, deadline=None)
def test_no_group_crosses_and_every_class_is_on_every_side_or_it_is_an_error(images, shares, seed):
    labels, groups = np.array(images).T
    labels = np.unique(labels, return_inverse=True)[1]
    try:
        side = deal(labels, groups, shares, seed)
    except ConfigError:
        return
    assert all(len(sides) == 1 for sides in sides_of(groups, side).values())
    for at in range(len(shares)):
        assert len(np.unique(labels[side == at])) == labels.max() + 1


@given(
    sizes=st.lists(st.lists(st.integers(1, 40), min_size=5, max_size=15), min_size=2, max_size=4),
    shares=SHARES,
    seed=st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_groups_of_one_class_each_always_find_a_split(sizes, shares, seed):
    labels = np.concatenate([[j] * sum(of_class) for j, of_class in enumerate(sizes)])
    flat = [n for of_class in sizes for n in of_class]
    side = deal(labels, np.repeat(np.arange(len(flat)), flat), shares, seed)
    for j, of_class in enumerate(sizes):
        counts = np.bincount(side[labels == j], minlength=len(shares))
        assert counts.min() >= 1
        assert np.abs(counts - np.array(shares) * sum(of_class)).max() <= 2 * max(of_class)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("share", [0.1, 0.2, 0.37, 0.5, 0.8])
def test_the_share_of_each_class_is_met_to_within_a_group(seed, share):
    labels, groups = patients([400, 100, 60], 4, seed)
    held_out = np.bincount(labels[deal(labels, groups, (1 - share, share), seed) == 1], minlength=3)
    assert np.abs(held_out - share * np.array([400, 100, 60])).max() <= 4


def test_patients_with_several_classes_come_near_it_too():
    random = np.random.RandomState(0)
    groups = random.randint(0, 500, 4000)
    mostly = random.choice(4, 500, p=[0.1, 0.4, 0.4, 0.1])
    labels = np.where(random.rand(4000) < 0.8, mostly[groups], random.randint(0, 4, 4000))
    side = deal(labels, groups)
    assert np.bincount(labels[side == 1]) / np.bincount(labels) == pytest.approx([0.2] * 4, abs=0.01)


def test_one_large_patient_trains_rather_than_filling_the_validation():
    labels, groups = patients([20, 20], 1)
    large = np.repeat([5000, 5001], [100, 90])
    side = deal(np.append(np.zeros(190, int), labels), np.append(large, groups))
    assert np.unique(side[:190]).tolist() == [0]
    assert np.bincount(side[190:][labels == 0]).tolist() == [0, 20]


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_alike(folds):
    labels, groups = patients([60, 30, 5 * folds], 1)
    side = deal(labels, groups, (1 / folds,) * folds)
    for j, n in enumerate([60, 30, 5 * folds]):
        assert np.bincount(side[labels == j]).tolist() == [n // folds] * folds


def test_a_rare_class_is_on_both_sides_where_it_can_be():
    for seed in range(50):
        labels, groups = patients([500, 2], 1)
        assert set(deal(labels, groups, seed=seed)[labels == 1]) == {0, 1}


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        ([3, 0, 0, 1, 0, 1, 1, 2, 2, 3, 2, 0, 0, 2, 0], [2, 3, 3, 1, 2, 0, 1, 0, 3, 0, 2, 1, 3, 3, 2]),
    ],
)
def test_a_side_lends_no_group_that_another_class_needs_there(labels, groups):
    side = deal(labels, groups)
    assert all(set(side[np.array(labels) == j]) == {0, 1} for j in range(4))


def test_a_split_is_found_where_there_is_one():
    random = np.random.RandomState(1)
    for _ in range(300):
        of_group = random.rand(random.randint(4, 8), 3) < 0.5  # which classes a patient has
        labels, groups = np.nonzero(of_group.T)
        halves = ((np.arange(2 ** len(of_group))[:, None] >> np.arange(len(of_group))) & 1).astype(bool)
        if any(of_group[half].any(0).all() and of_group[~half].any(0).all() for half in halves):
            assert all(set(deal(labels, groups)[labels == j]) == {0, 1} for j in range(3))


def test_the_seed_decides():
    labels, groups = patients([100, 100], 2)
    first, again, other = (deal(labels, groups, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_split_stays_what_it_was():
    labels, groups = patients([12, 8], 2)
    assert np.unique(groups[deal(labels, groups, seed=3) == 1]).tolist() == [5, 1003]


def test_what_groups_are_called_does_not_matter():
    labels, groups = patients([40, 40], 2)
    assert (deal(labels, groups) == deal(labels, groups * 7 - 5)).all()


@pytest.mark.parametrize(
    ("labels", "groups", "shares", "message"),
    [
        ([0, 0, 1, 1], [1, 2, 3, 3], (0.8, 0.2), "'class 1' has 1 group; training and validation need at least 2"),
        ([0, 0, 1, 1], [1, 1, 3, 3], (0.8, 0.2), "'class 0' has 1 group, 'class 1' has 1 group; training"),
        ([0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 4, 5], (1 / 3,) * 3, "'class 1' has 2 groups; 3 folds need at least 3"),
        # Each two of three classes share a patient: whichever side two of them are on, the third has one side only.
        ([0, 1, 1, 2, 2, 0], [1, 1, 2, 2, 3, 3], (0.8, 0.2), "has 2 groups, shared with other classes"),
    ],
)
def test_a_class_that_cannot_be_on_all_sides_is_named_with_its_groups(labels, groups, shares, message):
    with pytest.raises(
        ConfigError, match=rf"^data\.validation: every side needs each class, and groups are not split: .*{message}"
    ):
        deal(labels, groups, shares)


def test_the_mistake_is_told_where_the_split_was_asked_for():
    with pytest.raises(ConfigError, match=r"^data\.folds: "):
        deal([0, 0, 1, 1], [1, 2, 3, 3], (0.5, 0.5), place="folds")
