"""`TargetScale`: from targets in their own unit to a network's outputs and back, fitted on the training images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.recipe.data_settings.target_settings import Transform

_MOST_KNOTS = 1000
"""Most ranks that are stored; those between are interpolated."""


@dataclass(frozen=True)
class TargetScale:
    """Scale of targets: an output is (transformed target − mean) / std."""

    mean: float
    """Mean of the training images' transformed targets."""
    std: float
    """Their standard deviation."""
    transform: Transform = "none"
    knots: tuple[float, ...] = ()
    """Targets, ascending, whose ranks are the `levels`; between them both are interpolated."""
    levels: tuple[float, ...] = ()
    """Transformed targets at the knots; for logarithms, the limits of predictions."""
    spread: float | None = None
    """Standard deviation of the training targets in their own unit; None: `std`."""

    def outputs(self, targets: Tensor) -> Tensor:
        """Outputs that stand for targets, in the type of the targets."""
        return (self._transformed(targets) - self.mean) / self.std

    def targets(self, outputs: Tensor) -> Tensor:
        """Targets that outputs stand for. Limited to the range of the training targets by ranks; by logarithms, to one range beyond
        it, so that no number is too large for a float."""
        values = outputs * self.std + self.mean
        if self.transform in {"log", "log1p"}:
            values = values.clamp(*self.levels)
            return values.exp() if self.transform == "log" else values.expm1()
        return _interpolated(values, self.levels, self.knots) if self.knots else values

    def _transformed(self, targets: Tensor) -> Tensor:
        if self.transform in {"log", "log1p"}:
            return targets.log() if self.transform == "log" else targets.log1p()
        return _interpolated(targets, self.knots, self.levels) if self.knots else targets


def fitted_scale(targets: np.ndarray, transform: Transform) -> TargetScale:
    """Fits the scale of training targets.

    Args:
        targets: [n] float64, not all the same; above 0 for `log`, above −1 for `log1p`.
        transform: `data.target.transform`.
    """
    if transform == "none":
        return TargetScale(float(targets.mean()), float(targets.std()))
    knots, levels = _ranks(targets, normal=transform == "rank_normal") if transform.startswith("rank") else ((), ())
    values = TargetScale(0, 1, transform, knots, levels)._transformed(torch.from_numpy(targets)).numpy()
    if not knots:
        low, high = float(values.min()), float(values.max())
        levels = (2 * low - high, 2 * high - low)
    return TargetScale(float(values.mean()), float(values.std()), transform, knots, levels, float(targets.std()))


def _ranks(targets: np.ndarray, *, normal: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Distinct targets and their levels: the middle of their ranks, as shares."""
    values, counts = np.unique(targets, return_counts=True)
    levels = (np.cumsum(counts) - counts / 2) / len(targets)
    some = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_KNOTS)).round().astype(int))
    chosen = torch.special.ndtri(torch.from_numpy(levels[some])).numpy() if normal else levels[some]
    return tuple(values[some].tolist()), tuple(chosen.tolist())


def _interpolated(x: Tensor, xs: tuple[float, ...], ys: tuple[float, ...]) -> Tensor:
    """Piecewise linear function through the points (xs, ys), constant beyond its ends.

    A sum of clipped ramps, which ONNX can hold.
    """
    ends, values = (torch.tensor(points, dtype=x.dtype, device=x.device) for points in (xs, ys))
    slopes = values.diff() / ends.diff()
    ramps = [
        (part[..., None] - ends[:-1]).clamp(min=0).minimum(ends.diff()) @ slopes
        for part in (
            torch.split(x, _MOST_KNOTS) if x.ndim == 1 else [x]
        )  # a million numbers at once would fill the memory
    ]
    return values[0] + torch.cat(ramps)
