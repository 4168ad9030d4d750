"""Losses for imbalanced classes, all on logits, and the class weights and margins they derive from the class counts.

As in `torch.nn.functional.cross_entropy`, a weighted mean divides by the batch's sum of weights, and a `reduction` of `none`
returns the loss of each image times the weight of its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.recipe.loss_config import BalancedSoftmax, CrossEntropy, Drw, Focal, Ldam

Reduction = Literal["mean", "none"]

# --- from class counts ----------------------------------------------------------------------------------------------


def ldam_margins(counts: Tensor, max_margin: float) -> Tensor:
    """Per-class margins of LDAM (Cao et al. 2019, eq. 13): m_j = max_margin · (n_min / n_j)^(1/4).

    Args:
        counts: [c] training images of each class; each at least 1.
    Returns:
        [c] float32 margins as cosines; the rarest class gets `max_margin`.
    Raises:
        ValueError: if a class has no training image.
    """
    n = _all_present(counts)
    return (max_margin * (n.min() / n) ** 0.25).float()


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """Class weights by effective number of images (Cui et al. 2019): w_j = (1 − beta) / (1 − beta^n_j), summing to c.

    Args:
        counts: [c] training images of each class; each at least 1.
        beta: in [0, 1): 0 weighs all classes alike, close to 1 by inverse frequency.
    Returns:
        [c] float32.
    Raises:
        ValueError: if a class has no training image.
    """
    n = _all_present(counts)
    # expm1, because 1 - beta**n loses digits if beta is close to 1. The constant numerator cancels in the scaling to c.
    return _summing_to_c(-1 / torch.expm1(n * torch.tensor(beta, dtype=torch.float64).log()))


def inverse_frequency_weights(counts: Tensor) -> Tensor:
    """Class weights w_j = 1 / n_j, scaled to sum to c.

    Args:
        counts: [c] training images of each class; each at least 1.
    Returns:
        [c] float32.
    Raises:
        ValueError: if a class has no training image.
    """
    return _summing_to_c(1 / _all_present(counts))


def log_class_prior(counts: Tensor) -> Tensor:
    """Logarithm of each class's share of the training images.

    Args:
        counts: [c] training images of each class; each at least 1.
    Returns:
        [c] float32.
    Raises:
        ValueError: if a class has no training image.
    """
    n = _all_present(counts)
    return (n / n.sum()).log().float()


def _all_present(counts: Tensor) -> Tensor:
    if absent := (counts < 1).nonzero().flatten().tolist():
        raise ValueError(f"no training image of class {', '.join(map(str, absent))} (classes count from 0)")
    return counts.to(torch.float64)


def _summing_to_c(weights: Tensor) -> Tensor:
    return (weights * (len(weights) / weights.sum())).float()


# --- on logits ------------------------------------------------------------------------------------------------------


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy.

    Args:
        logits: [b, c].
        labels: [b] classes.
        weight: [c] class weights.
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016).
        reduction: `mean` or `none`.
    Returns:
        [] weighted mean, or [b].
    """
    return F.cross_entropy(logits, labels, weight, label_smoothing=label_smoothing, reduction=reduction)


def focal(
    logits: Tensor, labels: Tensor, *, gamma: float, weight: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Focal loss (Lin et al. 2017): an image's cross-entropy times (1 − p_y)^gamma.

    Args:
        logits: [b, c].
        labels: [b] classes.
        gamma: focusing exponent; 0 gives cross-entropy.
        weight: [c] class weights.
        reduction: `mean` or `none`.
    Returns:
        [] weighted mean, or [b].
    """
    log_p = logits.log_softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    # clamp: for gamma < 1 the power's slope is infinite at 0, where the gradient would become inf · 0 = NaN.
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(logits.dtype).tiny)
    losses = -(missing**gamma) * log_p
    if weight is not None:
        losses = weight[labels] * losses
    if reduction == "none":
        return losses
    return losses.mean() if weight is None else losses.sum() / weight[labels].sum()


def balanced_softmax(
    logits: Tensor,
    labels: Tensor,
    *,
    log_prior: Tensor,
    tau: float,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of logits + tau · log prior (Ren et al. 2020; Menon et al. 2021, eq. 10).

    Args:
        logits: [b, c]; predictions use them without the prior.
        labels: [b] classes.
        log_prior: [c], see `log_class_prior`.
        tau: weight of the prior; 0 gives cross-entropy, 1 balanced softmax.
        weight: [c] class weights.
        reduction: `mean` or `none`.
    Returns:
        [] weighted mean, or [b].
    """
    return F.cross_entropy(logits + tau * log_prior, labels, weight, reduction=reduction)


def ldam(
    logits: Tensor,
    labels: Tensor,
    *,
    margins_in_logits: Tensor,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy with the true class's logit lowered by the margin of the class (Cao et al. 2019, eq. 12).

    Args:
        logits: [b, c] scale · cosine, as the cosine head outputs them.
        labels: [b] classes.
        margins_in_logits: [c] scale · margin.
        weight: [c] class weights.
        reduction: `mean` or `none`.
    Returns:
        [] weighted mean, or [b].
    """
    lowered = logits - F.one_hot(labels, logits.shape[1]) * margins_in_logits
    return F.cross_entropy(lowered, labels, weight, reduction=reduction)


# --- loss of a run --------------------------------------------------------------------------------------------------


class LossFunction(Protocol):
    """One of the losses above, with every argument but the class weights bound."""

    def __call__(
        self, logits: Tensor, labels: Tensor, *, weight: Tensor | None, reduction: Reduction = "mean"
    ) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class ClassificationLoss:
    """Training loss of a run: the loss function and the class weights."""

    function: LossFunction
    class_weights: Tensor | None
    """[c] class weights before re-weighting; None: all equal."""
    drw_weights: Tensor | None
    """[c] class weights once re-weighting has started."""

    def __call__(
        self, logits: Tensor, labels: Tensor, *, reweighted: bool, image_weights: Tensor | None = None
    ) -> Tensor:
        """Loss of a batch, computed in float32 whatever the precision of the logits.

        Args:
            logits: [b, c].
            labels: [b] classes.
            reweighted: whether deferred re-weighting has started.
            image_weights: [b] weight of each image, multiplied with that of its class; None: all equal.
        Returns:
            [] weighted mean.
        """
        if image_weights is not None:
            nothing = torch.zeros_like(image_weights)
            return self.of_mixed(logits, labels, labels, image_weights, nothing, reweighted=reweighted)
        return self.function(logits.float(), labels, weight=self.weights(reweighted=reweighted))

    def of_mixed(
        self, logits: Tensor, labels: Tensor, others: Tensor, own: Tensor, foreign: Tensor, *, reweighted: bool
    ) -> Tensor:
        """Loss of a batch of mixed images: each counts as two images, one of either label, weighted by their shares.

        Args:
            logits: [b, c].
            labels, others: [b] classes of each image and of the one it is mixed with.
            own, foreign: [b] weights of each image and of the one it is mixed with.
            reweighted: whether deferred re-weighting has started.
        Returns:
            [] mean weighted by shares and classes; the loss of the plain batch where all of `foreign` is 0.
        """
        weight, logits = self.weights(reweighted=reweighted), logits.float()
        total = weights = torch.zeros((), device=logits.device)
        for of_class, part in ((labels, own), (others, foreign)):
            total = total + (part * self.function(logits, of_class, weight=weight, reduction="none")).sum()
            weights = weights + (part if weight is None else part * weight[of_class]).sum()
        return total / weights.clamp_min(torch.finfo(torch.float32).tiny)  # all weights of a batch may be 0

    def weights(self, *, reweighted: bool) -> Tensor | None:
        """[c] current class weights; None: all equal."""
        return self.drw_weights if reweighted else self.class_weights


def build_loss(
    loss_config: CrossEntropy | Focal | BalancedSoftmax | Ldam,
    counts: Sequence[int] | Tensor,
    *,
    drw: Drw | None,
    class_weights: bool,
    device: torch.device | str,
) -> ClassificationLoss:
    """Builds the training loss of a recipe.

    Args:
        loss_config: `train.loss` of the recipe.
        counts: [c] training images of each class.
        drw: deferred re-weighting; None: off.
        class_weights: weigh classes by inverse frequency before re-weighting.
        device: device of the weights and margins.
    Raises:
        ValueError: if the counts are needed and a class has no training image.
    """
    n = torch.as_tensor(counts)
    return ClassificationLoss(
        function=_function(loss_config, n, device),
        class_weights=inverse_frequency_weights(n).to(device) if class_weights else None,
        drw_weights=effective_number_weights(n, drw.beta).to(device) if drw else None,
    )


def _function(
    loss_config: CrossEntropy | Focal | BalancedSoftmax | Ldam, counts: Tensor, device: torch.device | str
) -> LossFunction:
    match loss_config:
        case CrossEntropy(label_smoothing=label_smoothing):
            return partial(cross_entropy, label_smoothing=label_smoothing)
        case Focal(gamma=gamma):
            return partial(focal, gamma=gamma)
        case BalancedSoftmax(tau=tau):
            return partial(balanced_softmax, log_prior=log_class_prior(counts).to(device), tau=tau)
        case Ldam(max_margin=max_margin, scale=scale):
            return partial(ldam, margins_in_logits=scale * ldam_margins(counts, max_margin).to(device))
