"""Picture of the numbers that a regression predicts: as the table gives them, adjusted for their time, and as they are learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from results_analysis.plots.png import new_png_figure
from trainables.data.dataset import Dataset
from trainables.recipe.data_config import DataConfig
from trainables.tasks.target_scale import fitted_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_BINS = 40
_TRAIN, _VALIDATION = "#3168a8", "#e28e2a"


@dataclass(frozen=True)
class Distribution:
    """Targets of both sides on one scale."""

    title: str
    train: np.ndarray
    validation: np.ndarray

    @property
    def skewness(self) -> float:
        """Third standardised moment of the training targets: 0 if they are symmetric."""
        away = self.train - self.train.mean()
        return float((away**3).mean() / self.train.std() ** 3)


def distributions(dataset: Dataset, config: DataConfig) -> list[Distribution]:
    """Targets before and after each step that `data.adjust_time` and `data.target` make.

    Args:
        dataset: a regression's data.
        config: the section `data` that it was opened with.
    """
    assert dataset.targets is not None
    steps = {"as in the table": dataset.targets if dataset.unadjusted is None else dataset.unadjusted}
    if config.adjust_time is not None:
        steps[f"adjusted for time ({config.adjust_time.by})"] = dataset.targets
    if config.transform != "none":
        scale = fitted_scale(dataset.targets[dataset.train], config.transform)
        learned = scale.outputs(torch.from_numpy(dataset.targets)).numpy() * scale.std + scale.mean
        steps[f"as learned ({config.transform})"] = learned
    return [Distribution(title, values[dataset.train], values[dataset.validation]) for title, values in steps.items()]


def draw_targets(found: list[Distribution]) -> Figure:
    """Draws a histogram of each distribution, with the shares of the images of either side."""
    figure = new_png_figure(4.4 * len(found), 3.4)
    for place, one in enumerate(found):
        axes = figure.add_subplot(1, len(found), place + 1)
        bins = min(_MOST_BINS, 10 + len(one.train) // 10)
        edges = np.histogram_bin_edges(np.concatenate([one.train, one.validation]), bins).tolist()
        for side, colour, values in (("training", _TRAIN, one.train), ("validation", _VALIDATION, one.validation)):
            shares = np.full(len(values), 1 / len(values))
            filled = side == "training"
            axes.hist(
                values, edges, weights=shares, label=f"{len(values):,} {side}", color=colour,
                histtype="stepfilled" if filled else "step", alpha=0.55 if filled else 1, linewidth=1.6,
            )  # fmt: skip
        axes.set_title(f"{one.title}\nskewness {one.skewness:.2g}", fontsize=10)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.set_ylabel("share of the images" if place == 0 else "")
        axes.spines[["top", "right"]].set_visible(False)
        if place == 0:
            axes.legend(frameon=False, fontsize=9)
    return figure
