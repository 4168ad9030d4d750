"""What is found by looking at data and weights, before anything starts."""

import io
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_recipe, load_search
from search.preflight.data_and_weights import check_data_and_weights
from tests.support.recipes import TINY_NETWORK
from trainables.training.trainer import Trainer

FILE = """\
data:
  source: folder
  path: images
  image_size: 32
  validation: 0.5
model:
  backbone: efficientnet_lite0
train:
  stages:
    - {name: head, unfreeze_from: head, epochs: 1}
"""


@pytest.fixture
def look(tmp_path, monkeypatch):
    """`look(*overrides, counts={...})`: checks search.yaml over class folders of so many images; says what was shown."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "search.yaml"
    file.write_text(FILE)
    pixels = np.random.default_rng(0)

    def check(*overrides, counts, terminal=False):
        for name, count in counts.items():
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                image = Image.fromarray(pixels.integers(0, 256, (40, 40, 3), dtype=np.uint8))
                image.save(tmp_path / "images" / name / f"{i}.png")
        source = read_source(file.relative_to(tmp_path), overrides)
        screen = io.StringIO()
        console = Console(file=screen, width=60, force_terminal=terminal)
        dataset = check_data_and_weights([load_recipe(source)], source, console)
        return dataset, screen.getvalue()

    return check


def test_the_data_is_summed_up_in_a_line(look):
    dataset, said = look(counts={"cat": 8, "dog": 4})
    assert said == "6 training images of 2 classes (4 … 2 each), 6 to validate, 32 px\n"
    assert dataset.classes == ("cat", "dog")


def test_doubts_about_the_pixels_are_said(look, tmp_path):
    look(counts={"cat": 8, "dog": 8})
    for file in (tmp_path / "images/cat").iterdir():
        Image.new("RGB", (40, 40), (9, 9, 9)).save(file)
    _, said = look(counts={})
    first, second, last = said.splitlines()
    assert (
        first
        == "warning: the same value in every pixel of 8 of 16 images (cat 8; such as cat/0.png, cat/1.png, cat/2.png)"
    )
    assert second.startswith("warning: the same picture on both sides of the split: 4 of 8 validation images (cat/")
    assert last == "8 training images of 2 classes (4 … 4 each), 8 to validate, 32 px"


def test_images_are_decoded_at_the_size_of_every_stage(look):
    folder = Path(os.environ["THAW_CACHE"])
    before = {path.name for path in folder.glob("images-*.npy")}
    stage = "{name: small, unfreeze_from: head, image_size: 64}, {name: large, unfreeze_from: all, image_size: 96}"
    dataset, said = look(f"train.stages=[{stage}]", counts={"ant": 8, "bee": 4})
    made = {path.name for path in folder.glob("images-*.npy")} - before
    assert sorted(name.split("-")[1] for name in made) == ["32px", "64px", "96px"]
    assert dataset.images.shape[1] == 32
    assert said.endswith("32 px\n")


def test_a_terminal_shows_how_far_decoding_is(look):
    _, said = look(counts={"cat": 8, "dog": 5}, terminal=True)
    assert "decoding images" in said
    assert "6 training images" in said


def test_a_missing_folder_has_its_place_in_the_file(look):
    with pytest.raises(InputError, match=r"^search\.yaml:3 data\.path: .*images: does not exist$"):
        look(counts={})


def test_an_unreadable_image_is_named(look, tmp_path):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    (tmp_path / "images" / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"^search\.yaml:3 data\.path: 1 of \d+ images cannot be read:\n.*broken\.png"):
        look(counts={"cat": 4, "dog": 4})


def test_images_that_are_left_out_are_a_warning(look, tmp_path):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    (tmp_path / "images" / "cat" / "broken.png").write_bytes(b"no image")
    dataset, said = look("data.on_bad=skip", counts={"cat": 4, "dog": 4})
    warning, summary = said.splitlines()
    listing = dataset.left_out.listing
    assert warning == f"warning: 1 of 9 images cannot be read and is left out, listed in {listing}"
    assert summary.startswith("4 training images of 2 classes")
    assert listing.read_text() == f"{tmp_path}/images/cat/broken.png: is not an image, or its header is damaged\n"


def test_a_class_without_a_training_image_is_named(look):
    with pytest.raises(InputError, match=r"search\.yaml:\d data.*dog"):
        look(counts={"cat": 8, "dog": 1})


def test_a_class_without_any_image_is_named(look):
    with pytest.raises(InputError, match=r"^search\.yaml:3 data\.path: .*1 of 3 classes have no image: bird "):
        look(counts={"cat": 4, "dog": 4, "bird": 0})


def test_weights_that_are_not_there_have_their_place(look):
    with pytest.raises(InputError, match=r"^command line \(model\.weights=nothing\.pt\) model\.weights: .*nothing\.pt"):
        look("model.weights=nothing.pt", counts={"cat": 4, "dog": 4})


def test_images_for_which_the_cache_is_too_small_are_said_to_be_streamed(look, monkeypatch):
    monkeypatch.setenv("THAW_CACHE_GIB", "0.00001")
    dataset, said = look(counts={"cat": 8, "dog": 4})
    line, summed_up = said.splitlines()
    assert line == dataset.streamed
    assert re.fullmatch(
        r"images of 32 px are streamed, which decodes them again in each epoch: "
        r"3\.43e-05 GiB are needed in .*: more than THAW_CACHE_GIB=0\.00001 allows",
        line,
    )
    assert summed_up == "6 training images of 2 classes (4 … 2 each), 6 to validate, 32 px"


def test_a_function_that_makes_no_network_has_its_place(look, own_module):
    module = own_module("def net(): return 3")
    with pytest.raises(
        InputError, match=rf"^command line .* model\.backbone: {module}:net returned a int \(3\); it must"
    ):
        look(f"model.backbone={module}:net", counts={"cat": 4, "dog": 4})


def test_a_network_that_does_not_fit_the_images_has_its_place(look, own_module):
    module = own_module(TINY_NETWORK.replace("features=12", "features=13"))
    with pytest.raises(
        InputError, match=r"model\.backbone: .* turns two images of 32 pixels into an output of shape \[2, 12\]"
    ):
        look(f"model.backbone={module}:tiny", counts={"cat": 4, "dog": 4})


def test_a_missing_compiler_has_its_place(look):
    from torch._inductor import config

    missing = pytest.raises(InputError, match=r"^command line \(train\.compile=true\) train\.compile: .*C\+\+ compiler")
    with config.patch({"cpp.cxx": ("no-such-compiler",)}), missing:
        look("train.compile=true", counts={"cat": 4, "dog": 4})


# --- training ---------------------------------------------------------------------------------------------------------

OPEN = "train.stages=[{name: open, unfreeze_from: all, epochs: 1}]"


def test_batches_of_one_image_under_an_open_batch_norm_are_refused(look):
    message = r"train\.batch_size: 1: stage 'open' would train on batches of 1 image, of 6 images in all, .*; raise it$"
    with pytest.raises(InputError, match=message):
        look(OPEN, "train.batch_size=1", counts={"cat": 8, "dog": 4})


@pytest.mark.parametrize(
    ("typed", "cats"),
    [
        ([OPEN, "train.batch_size=2"], 9),  # an odd number to train on: one batch has three
        (["train.batch_size=1"], 8),  # BatchNorm is frozen
        ([OPEN, "train.batch_size=1", "data.image_size=64"], 8),  # four positions of each channel to compare
    ],
)
def test_other_small_batches_train(look, typed, cats):
    dataset, _ = look(*typed, counts={"cat": cats, "dog": 4})
    file = read_source(Path("search.yaml"), typed)
    trainer = Trainer(load_recipe(file), dataset)
    assert math.isfinite(next(trainer).train_loss)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(("typed", "key"), [("train.device=cuda", "device"), ("train.precision=fp16", "precision")])
def test_what_needs_a_gpu_is_refused_where_there_is_none(look, typed, key):
    with pytest.raises(InputError, match=rf"train\.{key}: .* needs a GPU, but there is none here$"):
        look(typed, counts={"cat": 8, "dog": 4})


def test_a_searched_value_that_cannot_train_is_blamed_at_its_key(look, tmp_path):
    look(counts={"cat": 8, "dog": 4})
    space = "space={train.batch_size: {choice: [1, 4]}}"
    source = read_source(tmp_path / "search.yaml", [OPEN, space])
    with pytest.raises(InputError, match=r"space\.train\.batch_size: 1: stage 'open' would"):
        check_data_and_weights(load_search(source).corner_recipes(), source, Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("ema", "warned"),
    [("decay: 0.5", False), ("decay: 0.9999", True), ("decay: 0.9999, warmup: false", False)],
)
def test_a_decay_that_the_average_never_reaches_is_a_warning(look, ema, warned):
    _, said = look(f"train.ema={{{ema}}}", counts={"cat": 8, "dog": 4})
    assert ("warning: train.ema.decay: 0.9999 is not reached" in said) == warned
