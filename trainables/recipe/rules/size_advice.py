"""Advice by the number of training images: how deep to open the network, in which mode, and on which schedule.

Rules of thumb of fine-tuning, not measurements: `thaw init` writes them as comments, the report of a run repeats them.
"""

from __future__ import annotations

from typing import NamedTuple


class SizeAdvice(NamedTuple):
    """Advice for data of about one size."""

    size: str
    """Number of training images that it is for, in words."""
    depth: str
    mode: str
    schedule: str
    epochs: tuple[int, int, int]
    """Epochs of three stages that open the network step by step: the fewer images, the more epochs."""


SMALL, LARGE = 1_000, 10_000
"""Numbers of training images from which data are of middle size, and from above which they are large."""

_ADVICE = (
    SizeAdvice(
        f"fewer than {SMALL:,}",
        "train the head, then open the last block or two (last:1, last:2); opened further, it overfits more easily",
        "step by step, or plan: last_block; with augmentation, and dropout in the stages that open blocks",
        "many epochs at constant rates, ended by plateaus; the backbone at a tenth of the head's rate or less",
        (8, 12, 16),
    ),
    SizeAdvice(
        f"{SMALL:,} to {LARGE:,}",
        "train the head, then open two to four of the last blocks (last:2, last:4)",
        "step by step; compare the depths (plan: head_only, last_block, full)",
        "a cosine in the stages that open blocks (schedule: cosine); the backbone at a tenth of the head's rate",
        (5, 8, 12),
    ),
    SizeAdvice(
        f"more than {LARGE:,}",
        "open everything in the end (all)",
        "plan: full; or progressive_unfreezing and progressive_resizing, which begin with fewer and smaller images",
        "few epochs, with a cosine in each stage or one curve over all (one_cycle)",
        (3, 6, 9),
    ),
)


def size_advice(training_images: int) -> SizeAdvice:
    """Advice for a number of training images."""
    return _ADVICE[0 if training_images < SMALL else 1 if training_images <= LARGE else 2]
