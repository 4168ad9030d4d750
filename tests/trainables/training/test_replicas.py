"""Runs in two processes of torch.distributed: the same metrics as in one."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch

from tests.support import replica_runs
from tests.support.own_processes import OwnProcess
from tests.support.recipes import RECIPE, TINY_NETWORK
from trainables.data.batches.batches import own_parts
from trainables.data.dataset import open_dataset
from trainables.recipe.recipe import parse_recipe
from trainables.training.replicas import ALONE, Replicas
from trainables.training.trainer import Trainer

pytestmark = pytest.mark.slow

# --- parts ----------------------------------------------------------------------------------------------------------


def process(rank, count):
    one = Replicas()
    one.rank, one.count = rank, count
    return one


@pytest.mark.parametrize(("images", "count"), [(8, 2), (7, 2), (5, 3), (3, 3), (1000, 7), (16, 1)])
def test_parts_cover_a_batch_and_differ_by_one_image_at_most(images, count):
    parts = [np.arange(images)[process(rank, count).part(images)] for rank in range(count)]
    assert np.concatenate(parts).tolist() == list(range(images))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_own_parts_are_those_of_each_batch():
    places, sizes = own_parts([4, 3], process(1, 2).part)
    assert (places.tolist(), sizes) == ([2, 3, 5, 6], [2, 2])
    places, sizes = own_parts([4, 3], ALONE.part)
    assert (places.tolist(), sizes) == (list(range(7)), [4, 3])


# --- whole runs -----------------------------------------------------------------------------------------------------

WITHOUT_BATCH_NORM = TINY_NETWORK.replace("BatchNorm2d(c_out)", "GroupNorm(2, c_out)").replace("import torch\n", "")
OPEN = {"head_lr": 0.05, "backbone_lr": 0.05, "head_frozen_epochs": 0, "backbone_warmup_epochs": 0, "plateau": None}
STAGES = [
    {"name": "head", "unfreeze_from": "head", "epochs": 2, "head_lr": 0.05, "plateau": None, "dropout": 0.0},
    {"name": "all", "unfreeze_from": "all", "epochs": 2, "dropout": 0.0, **OPEN},
]
CASES = {
    "plain": {},
    "three batches a step, clipped, one cycle by the step": {
        "accumulate": 3,
        "clip_norm": 0.1,
        "batch_size": 5,
        "one_cycle": {"momentum": {}},
        "schedule_by": "step",
    },
    "class weights": {"balance": "class_weights"},
    "balanced sampling, averaged weights": {"balance": "sampler", "ema": {"decay": 0.5}},
    "ldam, re-weighted": {"loss": {"kind": "ldam"}, "drw": {"start_epoch": 2}},
    "mixed with images of the other part": {
        "mix": {"mixup_alpha": 0.4, "cutmix_alpha": 1.0},
        "balance": "class_weights",
    },
    "features mixed": {"mix": {"mixup_alpha": 0.4, "at": "cut"}},
    "augmented, nothing kept": {"augment": {"rotate_degrees": 20}, "prefix_cache": False},
}
ROUNDED = {"bf16": {"precision": "bf16"}}
"""The parts' gradients are rounded before they are added up."""
DIFFERENT = {
    "batch norm": {"model": {"backbone": "{module}:normed"}},
    "dropout": {"stages": [{**STAGES[0], "dropout": 0.5}]},
}
NORMED = """

def normed():
    return Backbone(blocks={"one": normed_block(3, 8), "two": normed_block(8, 8)}, features=8)
"""


def plain_recipe(module, workers, **train):
    train = copy.deepcopy(train)
    model = {"backbone": f"{module}:tiny"}
    if "model" in train:
        model = {"backbone": train.pop("model")["backbone"].format(module=module)}
    data = RECIPE["data"] | {"image_size": 16}
    return {"data": data, "model": model, "train": RECIPE["train"] | {"stages": STAGES, "workers": workers} | train}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """`runs(name)` -> the run in one process, and in each of two: their reports and last weights."""
    folder = tmp_path_factory.mktemp("processes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        normed = TINY_NETWORK[TINY_NETWORK.index("def block") : TINY_NETWORK.index("def tiny")]
        code = WITHOUT_BATCH_NORM + "\n\n" + normed.replace("def block", "def normed_block") + NORMED
        (folder / "networks_of_replicas.py").write_text(code)

        def recipes(workers):
            made = {**CASES, **ROUNDED, **DIFFERENT, "gone on with": CASES["balanced sampling, averaged weights"]}
            return {name: plain_recipe("networks_of_replicas", workers, **train) for name, train in made.items()}

        arguments = (2, folder, recipes(2), {"gone on with": 3})
        processes = [OwnProcess(replica_runs.train_all, rank, *arguments) for rank in (0, 1)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        of_both = [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in (0, 1)]
        alone = {}
        for name, plain in recipes(1).items():
            recipe = parse_recipe(plain)
            trainer = Trainer(recipe, open_dataset(recipe.data))
            alone[name] = (list(trainer), trainer.model.state_dict())
    return lambda name: (alone[name], *(of_one[name] for of_one in of_both))


def numbers(reports):
    """[epochs, metrics]"""
    return np.array([[report.train_loss, report.score, *report.metrics.values()] for report in reports])


def furthest(weights, others):
    return max((weights[name].double() - others[name].double()).abs().max().item() for name in weights)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one_does(runs, name):
    (alone, weights), (first, of_first), _ = runs(name)
    assert len(alone) == len(first) == 4
    assert np.ptp(numbers(alone)[:, 0]) > 0.01  # it learns
    np.testing.assert_allclose(numbers(first), numbers(alone), rtol=0, atol=1e-4)
    assert [report.confusion for report in first] == [report.confusion for report in alone]
    assert furthest(of_first, weights) < 1e-4


TIMES = dict.fromkeys(("train_s", "val_s", "cache_s", "images_per_s", "time", "uncached"))


@pytest.mark.parametrize("name", [*CASES, *ROUNDED, *DIFFERENT])
def test_both_processes_have_the_same_metrics_and_weights_to_the_last_bit(runs, name):
    _, (first, weights), (second, others) = runs(name)
    timeless = [[dataclasses.replace(report, **TIMES) for report in reports] for reports in (first, second)]
    assert timeless[0] == timeless[1]
    assert all(torch.equal(weights[key], others[key]) for key in weights)


@pytest.mark.parametrize("name", DIFFERENT)
def test_batch_norm_and_dropout_see_parts_and_learn_all_the_same(runs, name):
    (alone, weights), (first, of_first), _ = runs(name)
    apart = np.abs(numbers(first)[:, 0] - numbers(alone)[:, 0])
    assert 1e-4 < apart.max() < 0.5
    for key in weights:
        if key.endswith("running_mean"):  # of both parts, not of one: means of parts average to that of the whole
            assert torch.allclose(of_first[key], weights[key], atol=0.1), key


def test_a_run_that_is_taken_up_goes_on_to_the_last_bit(runs):
    _, (straight, weights), _ = runs("balanced sampling, averaged weights")
    _, (resumed, of_resumed), _ = runs("gone on with")
    assert [dataclasses.replace(r, **TIMES) for r in straight] == [dataclasses.replace(r, **TIMES) for r in resumed]
    assert all(torch.equal(weights[key], of_resumed[key]) for key in weights)
