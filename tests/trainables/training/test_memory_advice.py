"""Memory that runs out in training: the error is the allocator's own, in a process that may not grow."""

import re
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tests.support.small_runs import small_recipe, stage
from trainables.run_folder.layout import TrialLayout
from trainables.run_folder.trial_failures import last_failure
from trainables.training.memory_advice import TrainingMemoryError, advice, ran_out
from trainables.trial.training_run import TrainingRun

ROOM = 200 * 2**20
LARGE = [stage("top", "all", 1, image_size=96, head_frozen_epochs=0)]
"""A step of 46 images of this size needs half a GB."""


@contextmanager
def no_more_memory():
    """Lets this process grow by `ROOM` only."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_a_run_that_runs_out_of_memory_says_what_to_lower(tmp_path):
    folder = TrialLayout(tmp_path)
    run = TrainingRun(small_recipe(stages=LARGE, batch_size=46), folder)
    with no_more_memory(), pytest.raises(TrainingMemoryError) as raised:
        next(run)
    assert str(raised.value) == (
        "memory ran out in epoch 1 of stage top, with batches of 46 images of 96 × 96 in fp32 and 9 of 9 blocks open."
        " Any of these needs less: train.batch_size 23 with train.accumulate 2 (the same steps);"
        " train.gradient_checkpointing true (the same results); train.precision bf16;"
        " train.stages[0].image_size below 96; train.stages[0].unfreeze_from features.1 (now features.0)"
    )
    assert ran_out(raised.value.__cause__)
    assert last_failure(folder) == str(raised.value), "the reason that a search shows"
    assert re.search(r"^Traceback", folder.error.read_text())


@pytest.mark.parametrize(
    ("train", "lower"),
    [
        pytest.param({"batch_size": 1}, ["train.precision bf16", "data.image_size below 32"], id="one image"),
        pytest.param(
            {"precision": "bf16", "accumulate": 3, "stages": [stage("a", "head", 1, batch_size=8)]},
            ["train.stages[0].batch_size 4 with train.accumulate 6 (the same steps)", "data.image_size below 32"],
            id="of a stage",
        ),
        pytest.param(
            {"stages": [stage("a", "last:1", 1)]},
            [
                "train.batch_size 8 with train.accumulate 2 (the same steps)",
                "train.gradient_checkpointing true (the same results)",
                "train.precision bf16",
                "data.image_size below 32",
                "train.stages[0].unfreeze_from head (now features.8)",
            ],
            id="one open block",
        ),
    ],
)
def test_only_what_can_be_lowered_is_named(train, lower):
    recipe = small_recipe(**{"stages": [stage("a", "head", 1)], **train})
    said = advice(recipe, 0, epoch=2, device="cuda")
    assert said.startswith("GPU memory ran out in epoch 2 of stage a, with batches of ")
    assert said.partition("needs less: ")[2].split("; ") == lower


@pytest.mark.parametrize(
    ("error", "yes"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error, yes):
    assert ran_out(error) is yes


def test_a_recipe_with_the_advice_is_valid():
    small_recipe(
        stages=[{**LARGE[0], "unfreeze_from": "features.1", "image_size": 64}],
        batch_size=23,
        accumulate=2,
        precision="bf16",
    )
