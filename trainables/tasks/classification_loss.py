"""Training loss of a classification run: the loss function, and the weights of classes and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pkgutil import resolve_name

import torch
from torch import Tensor

from trainables.recipe.loss_config import Drw, Loss, loss_spec
from trainables.tasks.losses import LossFunction, effective_number_weights


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
            return self.mixed_loss(logits, labels, labels, image_weights, nothing, reweighted=reweighted)
        return self.function(logits.float(), labels, weight=self.weights(reweighted=reweighted))

    def mixed_loss(
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
    loss_config: Loss,
    counts: Sequence[int] | Tensor,
    *,
    drw: Drw | None,
    class_weights: Tensor | None,
    device: torch.device | str,
) -> ClassificationLoss:
    """Builds the training loss of a recipe.

    Args:
        loss_config: `train.loss` of the recipe.
        counts: [c] training images of each class.
        drw: deferred re-weighting; None: off.
        class_weights: [c] class weights before re-weighting; None: all equal.
        device: device of the weights and margins.
    Raises:
        ValueError: if the counts are needed and a class has no training image.
    """
    n = torch.as_tensor(counts)
    build = resolve_name(loss_spec(loss_config).build)
    return ClassificationLoss(
        function=build(loss_config, n, device),
        class_weights=None if class_weights is None else class_weights.float().to(device),
        drw_weights=effective_number_weights(n, drw.beta).to(device) if drw else None,
    )
