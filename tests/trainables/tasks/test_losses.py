import math

import pytest
import torch
import torch.nn.functional as F

from trainables.recipe.loss_config import BalancedSoftmax, CrossEntropy, Drw, Focal, Ldam
from trainables.tasks import losses
from trainables.tasks.classification_loss import build_loss


def long_tail(largest, classes, imbalance):
    return torch.tensor([int(largest * imbalance ** (-j / (classes - 1))) for j in range(classes)])


CIFAR10_LT = long_tail(5000, 10, 100)
CIFAR100_LT = long_tail(500, 100, 100)
COUNTS = torch.tensor([80, 15, 5])


def batch(images=16, classes=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, generator=generator, dtype=dtype) * 3
    return logits, torch.randint(classes, (images,), generator=generator)


# --- from class counts ----------------------------------------------------------------------------------------------


def test_the_long_tails_are_those_of_the_paper():
    assert (CIFAR10_LT.sum(), CIFAR100_LT.sum()) == (12_406, 10_847)


def test_ldam_margins_are_those_of_the_paper():
    margins = losses.ldam_margins(CIFAR10_LT, max_margin=0.5)
    assert (round(margins.min().item(), 3), margins.max().item()) == (0.158, 0.5)
    authors = 1 / CIFAR10_LT.double().sqrt().sqrt()
    assert margins == pytest.approx(authors * (0.5 / authors.max()))


@pytest.mark.parametrize(
    ("counts", "beta", "smallest", "largest"),
    [(CIFAR10_LT, 0.9999, 0.051, 3.993), (CIFAR100_LT, 0.9999, 0.045, 4.378)],
)
def test_effective_number_weights_are_those_of_the_paper(counts, beta, smallest, largest):
    weights = losses.effective_number_weights(counts, beta)
    assert (round(weights.min().item(), 3), round(weights.max().item(), 3)) == (smallest, largest)
    by_definition = (1 - beta) / (1 - beta ** counts.double())
    assert weights == pytest.approx(by_definition / by_definition.sum() * len(counts))


@pytest.mark.parametrize(
    ("counts", "beta", "weights"),
    [
        pytest.param([100, 10, 1], 0.0, [1, 1, 1], id="beta 0: all alike"),
        pytest.param([7, 7], 0.999, [1, 1], id="balanced"),
        pytest.param([10**9, 10**12], 0.9999, [1, 1], id="saturated"),
        pytest.param([10**6, 10**3], 1 - 1e-15, [2 / 1001, 2000 / 1001], id="beta close to 1: inverse frequency"),
    ],
)
def test_effective_number_weights_stay_exact_at_the_ends(counts, beta, weights):
    assert losses.effective_number_weights(torch.tensor(counts), beta) == pytest.approx(torch.tensor(weights), rel=1e-6)


def test_inverse_frequency_weights_give_each_class_the_same_say():
    weights = losses.inverse_frequency_weights(COUNTS)
    assert weights * COUNTS == pytest.approx(torch.full((3,), (weights * COUNTS)[0].item()))


@pytest.mark.parametrize("counts", [CIFAR10_LT, CIFAR100_LT, torch.tensor([1]), torch.tensor([10**12, 1])])
def test_class_weights_sum_to_the_number_of_classes(counts):
    for weights in (losses.effective_number_weights(counts, 0.9999), losses.inverse_frequency_weights(counts)):
        assert weights.dtype == torch.float32
        assert weights.sum().item() == pytest.approx(len(counts))


@pytest.mark.parametrize(
    "from_counts",
    [
        lambda counts: losses.ldam_margins(counts, 0.5),
        lambda counts: losses.effective_number_weights(counts, 0.9999),
        losses.inverse_frequency_weights,
        losses.log_class_prior,
    ],
)
def test_a_class_without_images_is_named(from_counts):
    with pytest.raises(ValueError, match=r"no training image of class 1, 3 \(classes count from 0\)"):
        from_counts(torch.tensor([5, 0, 3, 0]))


# --- on logits ------------------------------------------------------------------------------------------------------

WEIGHT = torch.tensor([0.2, 1.0, 1.8], dtype=torch.float64)
MARGINS = torch.tensor([3.0, 6.0, 15.0], dtype=torch.float64)
PRIOR = torch.tensor([0.80, 0.15, 0.05], dtype=torch.float64).log()

FUNCTIONS = {
    "cross_entropy": lambda x, y, w: losses.cross_entropy(x, y, weight=w),
    "smoothed": lambda x, y, w: losses.cross_entropy(x, y, weight=w, label_smoothing=0.1),
    "focal": lambda x, y, w: losses.focal(x, y, gamma=2.0, weight=w),
    "focal, gamma < 1": lambda x, y, w: losses.focal(x, y, gamma=0.5, weight=w),
    "balanced_softmax": lambda x, y, w: losses.balanced_softmax(x, y, log_prior=PRIOR, tau=1.5, weight=w),
    "ldam": lambda x, y, w: losses.ldam(x, y, margins_in_logits=MARGINS, weight=w),
}

each_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())


@each_function
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_gradients_are_the_numeric_ones(function, weight):
    logits, labels = batch(images=5)
    assert torch.autograd.gradcheck(lambda x: function(x, labels, weight), logits.requires_grad_())


@each_function
def test_a_weighted_mean_divides_by_the_weights_of_the_batch(function):
    logits, labels = batch()
    once = function(logits, labels, WEIGHT)
    assert function(logits, labels, 10 * WEIGHT).item() == pytest.approx(once.item())
    assert function(logits, labels, torch.ones_like(WEIGHT)).item() == pytest.approx(
        function(logits, labels, None).item()
    )


@pytest.mark.parametrize("function", [f for name, f in FUNCTIONS.items() if name != "smoothed"])
def test_a_weighted_mean_is_the_mean_of_single_images_by_weight(function):
    logits, labels = batch()
    single = torch.stack([function(logits[i : i + 1], labels[i : i + 1], None) for i in range(len(labels))])
    expected = (single * WEIGHT[labels]).sum() / WEIGHT[labels].sum()
    assert function(logits, labels, WEIGHT).item() == pytest.approx(expected.item())


PLAIN = {
    "cross_entropy": CrossEntropy(),
    "smoothed": CrossEntropy(label_smoothing=0.1),
    "focal": Focal(kind="focal"),
    "balanced_softmax": BalancedSoftmax(kind="balanced_softmax"),
    "ldam": Ldam(kind="ldam"),
}


def loss_of(config, *, weighted):
    return build_loss(
        config,
        [80, 15, 5],
        drw=None,
        class_weights=losses.inverse_frequency_weights(torch.tensor([80, 15, 5])) if weighted else None,
        device="cpu",
    )


@pytest.mark.parametrize("config", PLAIN.values(), ids=PLAIN.keys())
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_a_mixed_batch_costs_the_shares_of_both_labels(config, weighted):
    """By hand, image by image: λ · w(y₁) · L(y₁) + (1 − λ) · w(y₂) · L(y₂) over λ · w(y₁) + (1 − λ) · w(y₂)."""
    loss, (logits, labels) = loss_of(config, weighted=weighted), batch()
    others, share = labels.roll(1), torch.linspace(0, 1, len(labels))
    weight = loss.class_weights if weighted else torch.ones(3)
    total = divisor = 0.0
    for x, y1, y2, part in zip(logits, labels.tolist(), others.tolist(), share.tolist(), strict=True):
        for y, p in ((y1, part), (y2, 1 - part)):
            # The mean of one image alone: divided by the weight of its class.
            single = loss.function(x[None].float(), torch.tensor([y]), weight=loss.class_weights).item()
            total += p * single * weight[y].item()
            divisor += p * weight[y].item()
    mixed = loss.mixed_loss(logits, labels, others, share, 1 - share, reweighted=False).item()
    assert mixed == pytest.approx(total / divisor, rel=1e-5)


@pytest.mark.parametrize("config", PLAIN.values(), ids=PLAIN.keys())
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_unmixed_images_cost_what_they_did(config, weighted):
    loss, (logits, labels) = loss_of(config, weighted=weighted), batch()
    plain = loss(logits, labels, reweighted=False).item()
    ones = torch.ones(len(labels))
    assert loss.mixed_loss(logits, labels, labels.roll(1), ones, 0 * ones, reweighted=False).item() == pytest.approx(
        plain
    )
    assert loss.mixed_loss(logits, labels.roll(1), labels, 0 * ones, ones, reweighted=False).item() == pytest.approx(
        plain
    )
    half = loss.mixed_loss(logits, labels, labels, 0.3 * ones, 0.7 * ones, reweighted=False)
    assert half.item() == pytest.approx(plain), "mixed with images of their own class"


def test_a_mixed_batch_is_re_weighted_too():
    loss = build_loss(CrossEntropy(), [80, 15, 5], drw=Drw(start_epoch=1), class_weights=None, device="cpu")
    logits, labels = batch()
    ones = torch.ones(len(labels))
    plain, deferred = (
        loss.mixed_loss(logits, labels, labels, ones, 0 * ones, reweighted=r).item() for r in (False, True)
    )
    assert deferred == pytest.approx(loss(logits, labels, reweighted=True).item())
    assert deferred != pytest.approx(plain)


def test_mixed_targets_are_soft_targets():
    """For plain cross-entropy it is what torch computes for probabilities as targets."""
    loss, (logits, labels) = loss_of(CrossEntropy(), weighted=False), batch()
    others, share = labels.roll(1), torch.rand(len(labels), generator=torch.Generator().manual_seed(0))
    soft = torch.zeros(len(labels), 3)
    soft[torch.arange(len(labels)), labels] += share
    soft[torch.arange(len(labels)), others] += 1 - share
    expected = F.cross_entropy(logits.float(), soft).item()
    assert loss.mixed_loss(logits, labels, others, share, 1 - share, reweighted=False).item() == pytest.approx(
        expected, rel=1e-5
    )


@each_function
def test_confident_logits_give_finite_gradients(function):
    logits = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]], requires_grad=True)
    for labels in ([0, 1], [1, 0]):
        (gradient,) = torch.autograd.grad(function(logits, torch.tensor(labels), None), logits)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(
    "neutral",
    [
        lambda x, y, w: losses.cross_entropy(x, y, weight=w),
        lambda x, y, w: losses.focal(x, y, gamma=0.0, weight=w),
        lambda x, y, w: losses.balanced_softmax(x, y, log_prior=PRIOR, tau=0.0, weight=w),
        lambda x, y, w: losses.ldam(x, y, margins_in_logits=torch.zeros(3), weight=w),
    ],
    ids=["cross_entropy", "focal, gamma 0", "balanced softmax, tau 0", "ldam, no margin"],
)
def test_without_its_own_part_every_loss_is_cross_entropy(neutral, weight):
    logits, labels = batch()
    assert neutral(logits, labels, weight).item() == pytest.approx(F.cross_entropy(logits, labels, weight).item())


def test_focal_loss_looks_away_from_what_is_easy():
    logits = torch.tensor([[math.log(9.0), 0.0]])  # p = 0.9 and 0.1
    easy, hard = torch.tensor([0]), torch.tensor([1])
    assert losses.focal(logits, easy, gamma=2.0).item() == pytest.approx(-(0.1**2) * math.log(0.9), rel=1e-5)
    assert losses.focal(logits, hard, gamma=2.0).item() == pytest.approx(-(0.9**2) * math.log(0.1), rel=1e-5)


def test_balanced_softmax_weighs_each_class_by_its_prior_inside_the_softmax():
    logits, labels = batch()
    probability = (logits.exp() * PRIOR.exp() ** 1.5).gather(1, labels[:, None])[:, 0] / (
        logits.exp() * PRIOR.exp() ** 1.5
    ).sum(dim=1)
    got = losses.balanced_softmax(logits, labels, log_prior=PRIOR, tau=1.5)
    assert got.item() == pytest.approx(-probability.log().mean().item())


def test_ldam_is_the_authors_formula_on_scaled_cosines():
    scale, margins = 30.0, losses.ldam_margins(COUNTS, 0.5).double()
    cosines, labels = batch()
    cosines = cosines.tanh()
    lowered = cosines.clone()
    lowered[torch.arange(len(labels)), labels] -= margins[labels]
    got = losses.ldam(scale * cosines, labels, margins_in_logits=scale * margins, weight=WEIGHT)
    assert got.item() == pytest.approx(F.cross_entropy(scale * lowered, labels, WEIGHT).item())


# --- of a run -------------------------------------------------------------------------------------------------------


def build(config, counts=COUNTS, *, drw=None, class_weights=False):
    return build_loss(
        config,
        counts,
        drw=drw,
        class_weights=losses.inverse_frequency_weights(torch.as_tensor(counts)) if class_weights else None,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (CrossEntropy(), lambda x, y: F.cross_entropy(x, y)),
        (CrossEntropy(label_smoothing=0.2), lambda x, y: F.cross_entropy(x, y, label_smoothing=0.2)),
        (Focal(kind="focal", gamma=3), lambda x, y: losses.focal(x, y, gamma=3.0)),
        (
            BalancedSoftmax(kind="balanced_softmax", tau=0.7),
            lambda x, y: F.cross_entropy(x + 0.7 * PRIOR.float(), y),
        ),
        (
            Ldam(kind="ldam", max_margin=0.4, scale=20),
            lambda x, y: losses.ldam(x, y, margins_in_logits=20 * losses.ldam_margins(COUNTS, 0.4)),
        ),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_recipes_loss_is_the_function_it_names_with_its_numbers(config, expected):
    logits, labels = batch(dtype=torch.float32)
    assert build(config)(logits, labels, reweighted=False).item() == pytest.approx(expected(logits, labels).item())


BETA = 0.99
EFFECTIVE = losses.effective_number_weights(COUNTS, BETA)
INVERSE = losses.inverse_frequency_weights(COUNTS)


@pytest.mark.parametrize(
    ("drw", "class_weights", "reweighted", "weight"),
    [
        (False, False, False, None),
        (False, True, False, INVERSE),
        (True, False, False, None),
        (True, False, True, EFFECTIVE),
        (True, True, False, INVERSE),
        (True, True, True, EFFECTIVE),
    ],
)
@pytest.mark.parametrize("config", [CrossEntropy(), Ldam(kind="ldam")], ids=lambda config: config.kind)
def test_deferred_weights_take_the_place_of_class_weights(config, drw, class_weights, reweighted, weight):
    loss = build(config, drw=Drw(start_epoch=5, beta=BETA) if drw else None, class_weights=class_weights)
    logits, labels = batch(dtype=torch.float32)
    expected = build(config).function(logits, labels, weight=weight)
    assert loss(logits, labels, reweighted=reweighted).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("config", [CrossEntropy(), Focal(kind="focal")], ids=lambda config: config.kind)
def test_half_precision_logits_are_judged_in_full_precision(config):
    logits, labels = batch(dtype=torch.bfloat16)
    loss = build(config, class_weights=True)
    assert loss(logits, labels, reweighted=False) == loss(logits.float(), labels, reweighted=False)


def test_counts_may_be_a_list():
    logits, labels = batch()
    config = Ldam(kind="ldam")
    assert build(config, COUNTS.tolist())(logits, labels, reweighted=False) == build(config)(
        logits, labels, reweighted=False
    )


@pytest.mark.parametrize("config", [CrossEntropy(), Focal(kind="focal")], ids=lambda config: config.kind)
def test_a_loss_that_ignores_the_counts_takes_any(config):
    logits, labels = batch()
    assert build(config, [3, 0, 0])(logits, labels, reweighted=False).isfinite()


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (Ldam(kind="ldam"), {}),
        (BalancedSoftmax(kind="balanced_softmax"), {}),
        (CrossEntropy(), {"class_weights": True}),
        (CrossEntropy(), {"drw": Drw(start_epoch=2)}),
    ],
)
def test_a_loss_that_needs_every_class_says_which_is_missing(config, options):
    with pytest.raises(ValueError, match="no training image of class 1"):
        build(config, [3, 0, 5], **options)
