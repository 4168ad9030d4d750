"""Regression metrics of predicted numbers. They equal scikit-learn's or SciPy's, without their cost and their warnings."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trainables.tasks.metrics import Evaluation, mean_ranks, measured

Floats = npt.NDArray[np.float64]


def evaluate_numbers(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> Evaluation:
    """Compares predicted numbers with the true ones.

    Args:
        predictions, targets: [n].
    Returns:
        `spearman`, `r2`, `mae`, `rmse`, the last two in the targets' unit, and `prediction_spread`, the standard deviation of the
        predictions over that of the targets. NaN where undefined; all are NaN if a prediction is not finite.
    Raises:
        ValueError: if shapes do not fit, or there is no image.
    """
    p, y = np.asarray(predictions, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or p.size == 0:
        raise ValueError(f"predictions {p.shape} and targets {y.shape} are not both [n] with n ≥ 1")
    if not np.isfinite(p).all():
        p = np.full_like(p, math.nan)  # inf would get a rank
    metrics = {**measured(numbers=(p, y)), "prediction_spread": _ratio(float(p.std()), _spread(y))}
    return Evaluation(metrics=metrics, per_class={}, confusion=[])


def r2(predictions: Floats, targets: Floats) -> float:
    """Share of the targets' variance that is explained: 0 if their mean is predicted, negative if worse. NaN if all targets are
    equal.

    (scikit-learn returns 0 or 1 instead of NaN.)
    """
    residual, spread = np.square(targets - predictions).mean(), _spread(targets)
    return 1 - _ratio(float(residual), spread**2)


def spearman(predictions: Floats, targets: Floats) -> float:
    """Rank correlation (Spearman 1904); ties get their mean rank. NaN if one side is constant or holds NaN."""
    if np.isnan(predictions).any():
        return math.nan
    a, b = (ranks - ranks.mean() for ranks in (mean_ranks(predictions), mean_ranks(targets)))
    return _ratio(float(a @ b), math.sqrt(float(a @ a) * float(b @ b)))


def mae(predictions: Floats, targets: Floats) -> float:
    """Mean absolute error."""
    return float(np.abs(predictions - targets).mean())


def rmse(predictions: Floats, targets: Floats) -> float:
    """Root of the mean squared error."""
    return math.sqrt(np.square(predictions - targets).mean())


def _spread(targets: Floats) -> float:
    """Standard deviation; exactly 0 if all targets are equal, where rounding of their mean would leave a tiny rest."""
    return float(targets.std()) if np.ptp(targets) else 0.0


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
