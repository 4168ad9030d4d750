"""What is left to correct after training, against populations whose answer is known in closed form."""

import numpy as np
import pytest
import torch

from trainables.recipe.loss_config import BalancedSoftmax, CrossEntropy, Drw, Focal, Ldam
from trainables.tasks.class_prior import learned_prior
from trainables.tasks.classification_loss import build_loss
from trainables.tasks.losses import inverse_frequency_weights
from trainables.tasks.metrics import evaluate

COUNTS = np.array([1000, 100, 10])
CE, FOCAL, LDAM = CrossEntropy(), Focal(kind="focal"), Ldam(kind="ldam")


def balanced_softmax(tau):
    return BalancedSoftmax(kind="balanced_softmax", tau=tau)


INVERSE = 1 / COUNTS
SHARES = COUNTS / COUNTS.sum()


@pytest.mark.parametrize(
    ("loss", "weights", "evenly_drawn", "left"),
    [
        pytest.param(CE, None, False, COUNTS, id="cross-entropy learns the prior"),
        pytest.param(FOCAL, None, False, COUNTS, id="focal loss"),
        pytest.param(LDAM, None, False, COUNTS, id="LDAM before re-weighting"),
        pytest.param(CE, None, True, [1, 1, 1], id="balanced sampling leaves nothing"),
        pytest.param(CE, INVERSE, False, [1, 1, 1], id="nor do class weights"),
        pytest.param(LDAM, INVERSE * 7, False, [1, 1, 1], id="whatever their scale"),
        pytest.param(CE, [1, 1, 2], False, [1000, 100, 20], id="weights that correct a part"),
        pytest.param(balanced_softmax(1.0), None, False, [1, 1, 1], id="balanced softmax leaves nothing"),
        pytest.param(balanced_softmax(0.0), None, False, COUNTS, id="with tau 0 it is cross-entropy"),
        pytest.param(balanced_softmax(0.5), None, False, SHARES**0.5, id="with tau 0.5 half of it is left"),
        pytest.param(balanced_softmax(1.0), None, True, INVERSE, id="corrected twice, it leans to the rare classes"),
    ],
)
def test_what_is_left_of_the_training_prior(loss, weights, evenly_drawn, left):
    got = learned_prior(loss, COUNTS, weights=weights, evenly_drawn=evenly_drawn)
    assert got == pytest.approx(np.asarray(left) / np.mean(left))
    assert got.mean() == pytest.approx(1)


@pytest.mark.parametrize("counts", [COUNTS, np.array([125, 89, 64, 46, 33, 23, 16, 12, 8, 6])])
def test_rounding_of_class_weights_does_not_decide_between_classes_that_tie(counts):
    function = build_loss(
        CE,
        torch.from_numpy(counts),
        drw=None,
        class_weights=inverse_frequency_weights(torch.from_numpy(counts)),
        device="cpu",
    )
    left = learned_prior(CE, counts, weights=function.weights(reweighted=False).numpy(), evenly_drawn=False)
    assert left.tolist() == [1.0] * len(counts)


LIKELIHOOD = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]])
"""P(x | y) by class (row) for a world of three different images; its 1,110 training images are whole numbers."""


def fitted(loss, *, counts=COUNTS, evenly_drawn=False, drw=None, class_weights=False):
    """Class probabilities [x, y] of the logits that minimise a run's loss on all its images, one free row an image."""
    drawn = np.full(3, counts.sum()) if evenly_drawn else counts
    images = torch.tensor([x for y in range(3) for x in range(3) for _ in range(round(drawn[y] * LIKELIHOOD[y, x]))])
    labels = torch.tensor([y for y in range(3) for x in range(3) for _ in range(round(drawn[y] * LIKELIHOOD[y, x]))])
    function = build_loss(
        loss,
        torch.from_numpy(counts),
        drw=drw,
        class_weights=inverse_frequency_weights(torch.from_numpy(counts)) if class_weights else None,
        device="cpu",
    )
    logits = torch.zeros(3, 3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], lr=1, max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = function(logits[images], labels, reweighted=drw is not None)
        value.backward()
        return value

    optimizer.step(closure)
    weights = function.weights(reweighted=drw is not None)
    left = learned_prior(loss, counts, weights=weights, evenly_drawn=evenly_drawn)
    return logits.detach().double().softmax(dim=1).numpy(), left


@pytest.mark.parametrize(
    ("loss", "training"),
    [
        pytest.param(CE, {}, id="cross-entropy"),
        pytest.param(CE, {"class_weights": True}, id="class weights"),
        pytest.param(CE, {"evenly_drawn": True}, id="balanced sampling"),
        pytest.param(CE, {"drw": Drw(start_epoch=1)}, id="DRW"),
        pytest.param(CE, {"drw": Drw(start_epoch=1, beta=0.99)}, id="DRW that corrects half"),
        pytest.param(balanced_softmax(1.0), {}, id="balanced softmax"),
        pytest.param(balanced_softmax(0.5), {}, id="balanced softmax of another tau"),
        pytest.param(balanced_softmax(1.0), {"class_weights": True}, id="balanced softmax and class weights"),
    ],
)
def test_the_best_a_loss_can_reach_is_corrected_to_what_balanced_classes_would_give(loss, training):
    probabilities, left = fitted(loss, **training)
    corrected = probabilities / left
    corrected /= corrected.sum(axis=1, keepdims=True)
    assert corrected == pytest.approx((LIKELIHOOD / LIKELIHOOD.sum(axis=0)).T, abs=5e-3)


def bayes(x, prior):
    """P(y | x) [n, 3] of three unit Gaussians at -1.5, 0 and 1.5."""
    density = np.exp(-((x[:, None] - np.array([-1.5, 0.0, 1.5])) ** 2) / 2) * prior
    return density / density.sum(axis=1, keepdims=True)


def test_a_bayes_classifier_of_a_long_tail_becomes_that_of_balanced_classes():
    """Boundaries of the balanced one lie half-way, at -0.75 and 0.75; recall is Phi(0.75) outside, 2 Phi(0.75) - 1 inside."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20_000)
    x = rng.normal(size=len(labels)) + np.array([-1.5, 0.0, 1.5])[labels]
    of_long_tail, of_balanced = (bayes(x, prior) for prior in (SHARES, np.ones(3)))
    left = learned_prior(CE, COUNTS, weights=None, evenly_drawn=False)
    got, ideal = evaluate(of_long_tail, labels, learned_prior=left).metrics, evaluate(of_balanced, labels).metrics
    assert got["corrected_balanced_accuracy"] == ideal["balanced_accuracy"] == pytest.approx(0.69783, abs=0.005)
    assert got["corrected_macro_f1"] == ideal["macro_f1"]
    assert got["balanced_accuracy"] < 0.5, "as trained, it hardly sees the rarest class"


def test_where_nothing_is_left_the_corrected_numbers_are_the_raw_ones():
    rng = np.random.default_rng(0)
    labels, p = rng.integers(0, 3, size=300), rng.dirichlet(np.ones(3), size=300)
    for loss, weights, evenly_drawn in [(balanced_softmax(1.0), None, False), (CE, None, True), (CE, INVERSE, False)]:
        left = learned_prior(loss, COUNTS, weights=weights, evenly_drawn=evenly_drawn)
        metrics = evaluate(p, labels, learned_prior=left).metrics
        assert metrics == evaluate(p, labels).metrics
        assert metrics["corrected_balanced_accuracy"] == metrics["balanced_accuracy"]
