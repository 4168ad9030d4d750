"""Distribution of targets before and after they are adjusted and transformed."""

import numpy as np
import pytest
from PIL import Image

from results_analysis.plots.png import write_png
from search.preflight.target_picture import distributions, draw_targets
from trainables.data.dataset import Dataset
from trainables.recipe.data_config import DataConfig

TARGETS = np.exp(np.random.default_rng(0).normal(2, 1, 400))


def config(**data):
    columns = {"time": "year"} if "adjust_time" in data else {}
    return DataConfig(source="table", path="a.csv", task="regression", columns=columns, **data)


def dataset(**more):
    sides = np.arange(300), np.arange(300, 400)
    return Dataset(np.zeros((400, 2, 2, 1), np.uint8), np.zeros(400, int), (), *sides, "x", targets=TARGETS, **more)


def test_each_step_is_a_distribution_and_the_last_is_what_is_learned():
    (table,) = distributions(dataset(), config())
    assert table.skewness > 2
    assert (table.train == TARGETS[:300]).all()
    given = config(target={"transform": "log"}, adjust_time={"by": "ratio"})
    found = distributions(dataset(unadjusted=TARGETS * 3), given)
    assert [one.title for one in found] == ["as in the table", "adjusted for time (ratio)", "as learned (log)"]
    assert found[0].train == pytest.approx(3 * found[1].train)
    assert found[2].validation == pytest.approx(np.log(TARGETS[300:]))
    assert abs(found[2].skewness) < 0.4


def test_it_is_drawn_with_a_panel_for_each(tmp_path):
    write_png(draw_targets(distributions(dataset(), config(target={"transform": "rank"}))), tmp_path / "targets.png")
    width, height = Image.open(tmp_path / "targets.png").size
    assert 2 * height < width < 3 * height
