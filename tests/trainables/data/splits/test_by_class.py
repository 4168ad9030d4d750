"""Stratified splits and long tails: shares, seeds, golden totals, messages."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.core.config_errors import ConfigError
from trainables.core.seeding import derived_seed, random_state
from trainables.data.splits.by_class import (
    fraction_of,
    given_split,
    long_tail_counts,
    long_tailed,
    stratified_folds,
    stratified_split,
)
from trainables.recipe.data_config import LongTail


def labels_of(*counts: int) -> np.ndarray:
    """Interleaved rather than sorted, as real label files are."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.RandomState(0).permutation(labels)


def split(labels: np.ndarray, validation: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return stratified_split(labels, validation, seed, classes=[f"class {j}" for j in range(labels.max() + 1)])


def tail(labels: np.ndarray, seed: int = 0, **long_tail: float) -> np.ndarray:
    classes = [f"class {j}" for j in range(labels.max() + 1)]
    return long_tailed(np.arange(len(labels)), labels, LongTail(**long_tail), seed, classes=classes)


class TestStratifiedSplit:
    @pytest.mark.parametrize(
        ("counts", "validation", "aside"),
        [
            ((10, 20, 30), 0.2, [2, 4, 6]),
            ((3, 1000), 0.2, [1, 200]),
            ((5, 5), 0.5, [3, 3]),  # a half goes to validation
            ((2, 2), 0.25, [1, 1]),
            ((1000, 6), 0.9, [900, 5]),
        ],
    )
    def test_each_class_gives_its_own_share(self, counts, validation, aside):
        labels = labels_of(*counts)
        train, held_out = split(labels, validation)
        assert np.bincount(labels[held_out]).tolist() == aside
        assert np.bincount(labels[train]).tolist() == [n - k for n, k in zip(counts, aside, strict=True)]

    @given(
        counts=st.lists(st.integers(2, 40), min_size=2, max_size=6),
        validation=st.floats(0.01, 0.99),
        seed=st.integers(0, 2**70),
    )
    @settings(max_examples=100, deadline=None)
    def test_every_image_is_on_one_side_and_every_class_on_both_or_it_is_an_error(self, counts, validation, seed):
        labels = labels_of(*counts)
        try:
            train, held_out = split(labels, validation, seed)
        except ConfigError:
            return
        assert sorted([*train, *held_out]) == list(range(len(labels)))
        assert len(np.unique(labels[train])) == len(np.unique(labels[held_out])) == len(counts)
        assert (np.diff(train) > 0).all()
        assert (np.diff(held_out) > 0).all()

    def test_the_seed_decides(self):
        labels = labels_of(50, 50)
        assert (split(labels, seed=1)[1] == split(labels, seed=1)[1]).all()
        assert (split(labels, seed=1)[1] != split(labels, seed=2)[1]).any()

    def test_one_more_image_in_a_class_leaves_the_split_of_the_others_alone(self):
        labels = labels_of(50, 50)
        grown = np.append(labels, 1)
        before, after = split(labels)[1], split(grown)[1]
        assert (before[labels[before] == 0] == after[grown[after] == 0]).all()

    @pytest.mark.parametrize(
        ("counts", "validation", "message"),
        [
            (
                (50, 2),
                0.2,
                r"leaves .* for 'class 1' \(2 images\); use a share between 0.25 and 0.74, .* at least 3 images",
            ),
            ((50, 3), 0.9, r"'class 1' \(3 images\); use a share between 0.17 and 0.83, or at least 6 images"),
            ((50, 1), 0.5, r"'class 1' \(1 image\); a class needs at least 2 images"),
            ((2, 2, 9), 0.1, r"'class 0' \(2 images\), 'class 1' \(2 images\); .* at least 5 images"),
            ((2,) * 12, 0.1, r"'class 9' \(2 images\), … and 2 more;"),
        ],
    )
    def test_a_class_that_would_miss_on_a_side_is_named_with_what_would_do(self, counts, validation, message):
        with pytest.raises(ConfigError, match=r"data\.validation: .*" + message):
            split(labels_of(*counts), validation)

    @pytest.mark.parametrize("percent", [1, 2, 5, 10, 30, 50, 70, 90, 95, 98, 99])
    @pytest.mark.parametrize("fewest", [2, 3, 7, 24])
    def test_what_a_message_recommends_works(self, fewest, percent):
        labels = labels_of(1000, fewest)
        try:
            split(labels, percent / 100)
        except ConfigError as error:
            words = str(error).replace(",", "").split()
            low, high, enough = (words[words.index(word) + 1] for word in ("between", "and", "least"))
            split(labels, float(low))
            split(labels, float(high))
            split(labels_of(1000, int(enough)), percent / 100)
            with pytest.raises(ConfigError, match="images for each class"):
                split(labels_of(1000, int(enough) - 1), percent / 100)


class TestFolds:
    @given(
        counts=st.lists(st.integers(1, 40), min_size=2, max_size=6),
        folds=st.integers(2, 9),
        seed=st.integers(0, 2**70),
    )
    @settings(max_examples=100, deadline=None)
    def test_folds_are_alike_or_it_is_an_error(self, counts, folds, seed):
        labels, classes = labels_of(*counts), [str(j) for j in range(len(counts))]
        try:
            fold = stratified_folds(labels, folds, seed, classes=classes)
        except ConfigError:
            assert min(counts) < folds
            return
        table = np.stack([np.bincount(labels[fold == i], minlength=len(counts)) for i in range(folds)])
        assert (table.max(axis=0) - table.min(axis=0) <= 1).all()
        assert table.min() >= 1
        assert np.ptp(table.sum(axis=1)) <= 1  # what is left over does not pile up in the first folds

    def test_the_seed_decides(self):
        labels = labels_of(50, 50)
        first, again, other = (stratified_folds(labels, 5, seed, classes=["a", "b"]) for seed in (1, 1, 2))
        assert (first == again).all()
        assert (first != other).any()

    def test_a_class_smaller_than_the_number_of_folds_is_named(self):
        with pytest.raises(
            ConfigError, match=r"^data\.folds: 5: .* 'b' \(4 images\), 'c' \(2 images\); at most 2 folds are possible"
        ):
            stratified_folds(labels_of(9, 4, 2), 5, 0, classes=["a", "b", "c"])
        with pytest.raises(ConfigError, match=r"'c' \(1 image\); a class needs at least 2 images"):
            stratified_folds(labels_of(9, 4, 1), 3, 0, classes=["a", "b", "c"])


class TestGivenSplit:
    def test_it_is_used_as_it_is(self):
        judges = np.array([False, True, True, False])
        train, held_out = given_split(judges, np.array([0, 1, 0, 1]), classes=["a", "b"])
        assert (train.tolist(), held_out.tolist()) == ([0, 3], [1, 2])

    def test_every_side_without_a_class_is_told(self):
        with pytest.raises(ConfigError) as caught:
            given_split(np.array([False, True, True]), np.array([0, 1, 2]), classes=["a", "b", "c"])
        assert str(caught.value).splitlines() == [
            "data.columns.split: 'train' has no row of 'b', 'c'",
            "data.columns.split: 'val' has no row of 'a'",
        ]


class TestLongTail:
    @pytest.mark.parametrize(
        ("largest", "classes", "imbalance", "total", "ends"),
        [
            (5000, 10, 100, 12_406, (5000, 50)),  # CIFAR-10-LT of the LDAM-DRW paper
            (500, 100, 100, 10_847, (500, 5)),  # CIFAR-100-LT
            (49, 2, 49, 50, (49, 1)),  # 49 · (1/49) is 0.999… in floating point
            (7, 3, 1, 21, (7, 7)),
            (7, 1, 50, 7, (7, 7)),
        ],
    )
    def test_counts_are_those_of_the_paper(self, largest, classes, imbalance, total, ends):
        counts = long_tail_counts(largest, classes, imbalance)
        assert sum(counts) == total
        assert (counts[0], counts[-1]) == ends
        assert counts == sorted(counts, reverse=True)

    def test_the_given_largest_class_sets_the_counts(self):
        labels = labels_of(100, 100, 100)
        assert np.bincount(labels[tail(labels, imbalance=100, largest=100)]).tolist() == [100, 10, 1]

    @pytest.mark.parametrize(
        ("available", "imbalance", "counts"),
        [
            ((100, 100, 100), 100, [100, 10, 1]),
            ((100, 100, 90), 1, [90, 90, 90]),
            ((100, 5, 100), 100, [59, 5, 0]),  # 60 would ask for 6
            ((1000, 1000, 2), 100, [299, 29, 2]),  # 300 would ask for 3
        ],
    )
    def test_without_one_the_largest_is_what_every_class_can_follow(self, available, imbalance, counts):
        labels = labels_of(*available)
        if 0 in counts:
            with pytest.raises(ConfigError, match=f"with {counts[0]} images in the largest class leaves none"):
                tail(labels, imbalance=imbalance)
        else:
            assert np.bincount(labels[tail(labels, imbalance=imbalance)]).tolist() == counts

    def test_it_draws_from_the_training_split_only_and_is_seeded(self):
        labels = labels_of(60, 60)
        train, _ = split(labels)
        part, again, other = (
            long_tailed(train, labels, LongTail(imbalance=8), seed, classes=["a", "b"]) for seed in (1, 1, 2)
        )
        assert set(part) < set(train)
        assert (part == again).all()
        assert set(part) != set(other)

    def test_the_more_imbalanced_set_is_part_of_the_less_imbalanced_one(self):
        labels = labels_of(100, 100, 100)
        mild, severe = (tail(labels, imbalance=mu, largest=100) for mu in (10, 50))
        assert set(severe) < set(mild)

    @pytest.mark.parametrize(
        ("counts", "long_tail", "message"),
        [
            ((20, 20), {"imbalance": 2, "largest": 30}, "'class 0' has 20 of 30; use at most 20"),
            ((20, 4), {"imbalance": 2, "largest": 20}, "'class 1' has 4 of 10; use at most 9"),
            (
                (20, 20),
                {"imbalance": 50},
                "imbalance 50 with 20 .* none for 'class 1'; .* at least 50 images .* at most 20",
            ),
        ],
    )
    def test_what_cannot_be_supplied_is_an_error(self, counts, long_tail, message):
        with pytest.raises(ConfigError, match=r"data\.long_tail: .*" + message):
            tail(labels_of(*counts), **long_tail)


class TestFractions:
    @pytest.mark.parametrize(
        ("counts", "fraction", "kept"),
        [
            ((10, 20, 30), 0.5, [5, 10, 15]),
            ((10, 20, 30), 1.0, [10, 20, 30]),
            ((100, 200, 300), 0.07, [7, 14, 21]),  # 0.07 · 100 is a little more than 7 in floating point
            ((10, 20, 30), 0.35, [4, 7, 11]),
            ((1, 2, 1000), 0.01, [1, 1, 10]),
        ],
    )
    def test_each_class_gives_its_share_rounded_up(self, counts, fraction, kept):
        labels = labels_of(*counts)
        part = fraction_of(np.arange(len(labels)), labels, fraction, 0)
        assert np.bincount(labels[part]).tolist() == kept

    @given(
        counts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
        fractions=st.tuples(st.floats(1e-3, 1), st.floats(1e-3, 1)),
        seed=st.integers(0, 2**70),
    )
    @settings(max_examples=200, deadline=None)
    def test_a_smaller_share_is_part_of_a_larger_one_and_has_every_class(self, counts, fractions, seed):
        labels = labels_of(*counts)
        small, large = (fraction_of(np.arange(len(labels)), labels, f, seed) for f in sorted(fractions))
        assert set(small) <= set(large)
        for part, fraction in ((small, min(fractions)), (large, max(fractions))):
            assert (np.diff(part) > 0).all()
            of_class = np.bincount(labels[part], minlength=len(counts))
            assert (of_class >= 1).all()
            assert (np.abs(of_class - fraction * np.array(counts)) < 1).all()

    def test_only_training_images_are_drawn_and_none_is_lost_at_1(self):
        labels = labels_of(40, 10)
        train, _ = split(labels, 0.3)
        assert set(fraction_of(train, labels, 0.4, 0)) < set(train)
        assert fraction_of(train, labels, 1.0, 0).tolist() == train.tolist()

    def test_the_seed_draws(self):
        labels = labels_of(60, 60)
        part, again, other = (fraction_of(np.arange(120), labels, 0.5, seed).tolist() for seed in (1, 1, 2))
        assert part == again != other

    def test_a_share_is_no_other_draws_part(self):
        """A long tail takes the first of an order of its own; a share that took the same ones would be no sample of it."""
        labels = labels_of(100, 100)
        by_fraction = fraction_of(np.arange(200), labels, 0.5, 0)
        assert set(by_fraction) != set(tail(labels, imbalance=1, largest=50))


class TestSeeds:
    def test_a_seed_is_the_same_in_every_process(self):
        code = "from trainables.core.seeding import derived_seed; print(derived_seed(3, 'order', 7))"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert int(other.stdout) == derived_seed(3, "order", 7) == 8403337869328738062

    @pytest.mark.parametrize("other", [(4, "order", 7), (3, "dropout", 7), (3, "order", 8)])
    def test_seed_purpose_and_epoch_each_matter(self, other):
        assert derived_seed(3, "order", 7) != derived_seed(*other)

    def test_random_numbers_do_not_change_with_numpy(self):
        assert random_state(3, "order", 7).permutation(6).tolist() == [0, 3, 1, 5, 2, 4]
