"""A run of a second in its folder, with a policy of checkpoints to try."""

import pytest

from tests.support.small_runs import stage
from trainables.run_folder.layout import TrialLayout

HEAD = [stage("head", "head", 6)]
TWO = [stage("head", "head", 2), stage("top", "last:1", 2, head_frozen_epochs=0)]
WORSE = [stage("head", "head", 2), stage("worse", "head", 4, head_lr=50.0)]
"""Nothing is best after the second epoch."""


@pytest.fixture
def folder(tmp_path):
    return TrialLayout(tmp_path / "runs" / "small-20260101-000000")


@pytest.fixture
def recipe_of(make_recipe):
    """`recipe_of(stages, **policy)`: a run of a second with that policy of checkpoints."""

    def make(stages=HEAD, *, ema=None, **policy):
        metric = "val_loss" if stages is WORSE else "balanced_accuracy"
        return make_recipe(stages=stages, checkpoints=policy, ema=ema, early_stop=None, metric=metric)

    return make


def no_space(*_args, **_kwargs):
    raise OSError("no space left")
