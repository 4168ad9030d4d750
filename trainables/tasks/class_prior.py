"""Class shares that a network learns in training, so that evaluation can divide them out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainables.recipe.loss_config import Loss, loss_spec


def learned_prior(
    loss: Loss,
    counts: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None,
    evenly_drawn: bool,
) -> npt.NDArray[np.float64]:
    """Returns the class shares contained in a network's probabilities; dividing by them gives those for balanced classes.

    Training sees class j with a share q_j ∝ n_j · w_j, the number of its images (the same for all classes with balanced sampling)
    times their weight. Balanced softmax accounts for π^tau of it (π: share of the training images), so that the network learns
    the remaining q / π^tau. Subtracting its logarithm from the logits is the post-hoc logit adjustment of Menon et al. (2021,
    eq. 9; tau 1 for plain cross-entropy). By loss (n: images of a class, w: its weight):

    | loss | learned prior |
    | --- | --- |
    | cross_entropy, focal, ldam; plain sampling | n: all of it |
    | the same; balanced sampling or class weights | 1: nothing to correct |
    | the same; with DRW's weights | n · w: little if beta is close to 1, more otherwise |
    | balanced_softmax, tau 1 | 1; with another tau n^(1 − tau) |

    Exact for a network that minimises (weighted) cross-entropy. An approximation for focal loss, smoothed labels and LDAM, whose
    minimisers are not the class probabilities, and in the epochs right after re-weighting has begun.

    Args:
        loss: `train.loss` of the recipe.
        counts: [c] training images of each class; each at least 1.
        weights: [c] current class weights; None: all equal.
        evenly_drawn: whether balanced sampling draws the images.
    Returns:
        [c] with mean 1.
    """
    n = np.asarray(counts, dtype=np.float64)
    seen = np.ones_like(n) if evenly_drawn else n / n.sum()
    if weights is not None:
        seen = seen * np.asarray(weights, dtype=np.float64)
    power = loss_spec(loss).prior_power
    learned = seen if power is None else seen / (n / n.sum()) ** getattr(loss, power)
    # Weights are float32: their rounding must not decide between classes that tie.
    if np.allclose(learned, learned[0], rtol=1e-6, atol=0):
        return np.ones_like(n)
    shares: npt.NDArray[np.float64] = learned / learned.mean()
    return shares
