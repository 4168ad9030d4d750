"""`gpus: auto`: as many trials share a GPU as have room on it."""

import pytest

from search.config.resources import Resources
from search.config.yaml_source import read_source
from search.config_file.load import load_search
from search.preflight.gpu_share import gpu_share, heaviest_stages, measured_gpu_share

GIB = 2**30


@pytest.mark.parametrize(
    ("trial_gib", "gpu_gib", "share"),
    [(1, 80, 1 / 72), (10, 24, 1 / 2), (11, 24, 1), (23, 24, 1), (40, 24, 1), (0.5, 8, 1 / 14)],
)
def test_trials_share_a_gpu_by_their_memory(trial_gib, gpu_gib, share):
    assert gpu_share(trial_bytes=int(trial_gib * GIB), gpu_bytes=int(gpu_gib * GIB)) == pytest.approx(share)


def test_the_largest_and_the_deepest_stage_are_tried(make_recipe):
    head = {"name": "head", "unfreeze_from": "head", "batch_size": 64}
    top = {"name": "top", "unfreeze_from": "last:2"}
    everything = {"name": "all", "unfreeze_from": "all", "batch_size": 8}
    small, large = make_recipe(stages=[head, top]), make_recipe(stages=[top, everything])
    assert heaviest_stages([small, large]) == [(small, 0), (large, 1)]
    assert heaviest_stages([large]) == [(large, 0), (large, 1)]
    assert heaviest_stages([make_recipe(stages=[top])]) == [(make_recipe(stages=[top]), 0)]


@pytest.mark.parametrize("gpus", [None, 0, 0.25, 1, "auto"])
def test_gpus_are_a_number_or_measured(gpus):
    assert Resources.model_validate({"gpus": gpus}).gpus == gpus


def test_where_there_is_no_gpu_a_trial_takes_none(tmp_path, make_recipe):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    file = tmp_path / "small.yaml"
    recipe = make_recipe().model_dump_json()
    file.write_text(f'{recipe[:-1]}, "space": "ema", "search": {{"resources": {{"gpus": "auto"}}}}}}')
    assert measured_gpu_share(load_search(read_source(file))) == 0
