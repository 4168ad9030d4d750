"""What training teaches a network about how common classes are, so that evaluation can take it back."""

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
    """The class shares that a network's probabilities carry; dividing by them gives those of balanced classes.

    Training sees class j with a share of q_j ∝ n_j · w_j: the images of the class, or the same for all where they are drawn
    evenly, times their weight. Balanced softmax takes π^tau of it upon itself (π: share of the training images), so that
    q / π^tau is left to the network. Subtracting its logarithm from the logits is the post-hoc logit adjustment of Menon et
    al. (2021, eq. 9; tau 1 for plain cross-entropy). What that comes to:

    | loss | learned prior |
    | --- | --- |
    | cross_entropy, focal, ldam; drawn as they are | n: all of it |
    | the same; balanced sampling or class weights | 1: nothing is left to correct |
    | the same; DRW in force | n · w: little where beta is close to 1, more where it is not |
    | balanced_softmax, tau 1 | 1; with another tau n^(1 − tau) |

    Exact for a network that minimises (weighted) cross-entropy; an approximation for focal loss, smoothed labels and LDAM,
    whose minimisers are not the class probabilities, and in the epochs right after re-weighting began.

    Args:
        counts: [c] training images of each class; each at least 1.
        weights: [c] class weights in force; None: all alike.
        evenly_drawn: whether balanced sampling chooses the images.
    Returns:
        [c] with mean 1.
    """
    n = np.asarray(counts, dtype=np.float64)
    taught = np.ones_like(n) if evenly_drawn else n / n.sum()
    if weights is not None:
        taught = taught * np.asarray(weights, dtype=np.float64)
    power = loss_spec(loss).prior_power
    left = taught if power is None else taught / (n / n.sum()) ** getattr(loss, power)
    # Weights are float32: their rounding must not decide between classes that tie.
    if np.allclose(left, left[0], rtol=1e-6, atol=0):
        return np.ones_like(n)
    shares: npt.NDArray[np.float64] = left / left.mean()
    return shares
