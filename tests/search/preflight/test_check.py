"""`thaw check` says what a search takes, and starts nothing."""

import copy
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_search
from search.preflight.check import CheckLayout, _on_device, check_search, stages_to_try, varied
from search.preflight.check_page import page, write_check
from search.preflight.check_report import duration, render, shown_rows, size_of
from search.preflight.data_and_weights import data_warnings
from tests.support.recipes import RECIPE
from trainables.data.dataset import open_dataset
from trainables.data.overview import GroupSides, Overview, overview
from trainables.recipe.data_config import DataConfig

SPACE = {
    "train.stages[*].head_lr": {"log": [0.01, 0.1]},
    "train.stages[-1].unfreeze_from": {"choice": ["last:1", "last:3"]},
}


@pytest.fixture
def load(tmp_path):
    """`load(*overrides)`: a small search and where it was read."""
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump({**copy.deepcopy(RECIPE), "space": SPACE, "search": {"trials": 6}}))

    def load_it(*overrides):
        source = read_source(file, overrides)
        return load_search(source), source

    return load_it


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """A check of the small search, and its folder."""
    folder = tmp_path_factory.mktemp("check")
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump({**copy.deepcopy(RECIPE), "space": SPACE, "search": {"trials": 6}}))
    source = read_source(file, ["train.augment={horizontal_flip: 0.5}"])
    config = load_search(source)
    found, dataset = check_search(config, source, Console(file=io.StringIO()))
    layout = CheckLayout(folder / "out")
    write_check(found, dataset, config, layout)
    return found, layout, config


def said(found, width=120):
    console = Console(file=io.StringIO(), width=width)
    console.print(render(found))
    return console.file.getvalue()


# --- what is found ----------------------------------------------------------------------------------------------------


def test_data_stages_and_length_are_found(checked):
    found, _, _ = checked
    assert found.image_shape == (32, 32, 1)
    assert found.data.train == (12, 9, 7, 5, 4, 3, 2, 2, 1, 1)
    assert found.data.groups is None
    # Images are new in each epoch: nothing of theirs can be kept.
    assert found.cache_bytes == {"decoded images": 1797 * 32 * 32, "features of frozen blocks": 0}
    assert [(cost.stage, cost.unfreeze_from) for cost in found.tried.stages] == [
        ("head", "head"), ("top", "last:2"), ("top", "last:3"),
    ]  # fmt: skip
    assert found.own_stages == 2
    assert found.forecast.trials == 6
    assert found.forecast.mean_epochs == 4
    assert 0 < found.forecast.expected_s <= found.forecast.most_s


def test_streamed_images_are_not_said_to_be_on_disk(checked):
    found, _, _ = checked
    assert (found.streamed, found.decoding_s) == (None, 0)
    text = said(replace(found, streamed="images of 32 px are streamed, and why", decoding_s=12.0), 200)
    assert "images of 32 px are streamed, and why; decoding takes 12 s of an epoch, while the network trains" in text


def test_the_report_says_it(checked):
    found, _, _ = checked
    text = said(found)
    assert re.search(r"^ +0 +12 +26\.1% +18 *$", text, re.M)
    assert re.search(r"^ +total +46 +\d+ *$", text, re.M)
    assert re.search(r"^ +top +last:2 +[\d,]+ +2\.\d+ +≤ 2 ", text, re.M)
    assert re.search(r"^ +top +16×3×32×32 → 16×192×1×1 → 16×10", text, re.M)
    assert "top (searched)" in text
    assert "no groups: each image is independent" in text
    assert "decoded images: 1.8 MB on disk" in text
    assert re.search(r"6 trials, \d+ at once on \d+ core", text)
    assert duration(found.forecast.expected_s) in text
    assert duration(found.forecast.most_s) in text
    kept = r"\(the 2 newest; the best; milestones 25%, 50%, 75%, 100%\)"
    assert re.search(
        rf"checkpoints of a trial: at most [\d.]+ MB {kept}, for 6 trials [\d.]+ MB, less if", " ".join(text.split())
    )


def test_the_report_fits_a_narrow_terminal(checked):
    found, _, _ = checked
    text = said(found, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "top (searched)" in text


def test_files_are_written(checked):
    found, layout, config = checked
    assert sorted(path.name for path in layout.root.iterdir()) == [
        "check.html", "check.json", "classes.png", "search.yaml",
    ]  # fmt: skip
    numbers = json.loads(layout.numbers.read_text())
    assert numbers["data"]["train"] == list(found.data.train)
    assert numbers["forecast"]["expected_s"] == found.forecast.expected_s
    assert numbers["warnings"] == found.warnings()
    again = load_search(read_source(layout.config))
    assert again.recipe == config.recipe
    with Image.open(layout.picture) as picture:
        assert picture.format == "PNG"
        assert picture.width > 800  # three versions beside each original


def test_the_page_needs_nothing_else(checked):
    found, _, _ = checked
    text = page(replace(found, name="<b>"), b"picture", "a: <&>")
    assert "<h1>&lt;b&gt;</h1>" in text
    assert "a: &lt;&amp;&gt;" in text
    assert "data:image/png;base64,cGljdHVyZQ==" in text
    assert "parameters" in text
    assert "http" not in text


def test_groups_are_counted(tmp_path, monkeypatch, load):
    rows = ["path,label,patient"]
    for i in range(24):
        Image.new("RGB", (32, 32), (10 * i, 0, 0)).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{i % 2},p{i // 4}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trainables.trial.dry_run._MEASURE_FOR_S", 0.01)
    config, source = load("data={source: table, path: t.csv, columns: {group: patient}, image_size: 32}")
    found, _ = check_search(config, source, Console(file=io.StringIO()))
    assert found.data.groups == GroupSides(5, 1, 0)
    assert "groups: 5 for training, 1 for validation, 0 in both" in said(found)
    assert "colour" in said(found)


# --- what is chosen ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cuts", "others", "tried"),
    [
        (["head", "last:2"], [["head", "last:1"]], ["head", "last:2"]),  # within what is measured anyway
        (["head", "last:2"], [["head", "last:3"], ["head", "all"]], ["head", "last:2", "all"]),
        (["last:2"], [["head", "last:2"]], ["last:2", "head"]),
        (["last:2"], [["head"], ["all"]], ["last:2", "all", "head"]),
        (["head"], [], ["head"]),
    ],
)
def test_stages_beyond_the_files_own_are_tried_too(make_recipe, cuts, others, tried):
    def recipe(places):
        return make_recipe(stages=[{"name": f"s{i}", "unfreeze_from": at} for i, at in enumerate(places)])

    stages = stages_to_try(recipe(cuts), [recipe(places) for places in others])
    assert [found.train.stages[i].unfreeze_from for found, i in stages] == tried


def test_another_backbone_is_no_measure_of_the_files_own(make_recipe):
    other = make_recipe(
        model={"backbone": "resnet18", "weights": "none"}, stages=[{"name": "s", "unfreeze_from": "all"}]
    )
    assert len(stages_to_try(make_recipe(), [other])) == 2


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, ()),
        ({"batch_size": 8}, ("train.batch_size",)),
        ({"data": {"image_size": 64}}, ("data.image_size",)),
        ({"seed": 1}, ()),
    ],
)
def test_what_the_space_varies_and_times_depend_on_is_said(make_recipe, change, names):
    assert varied(make_recipe(), [make_recipe(), make_recipe(**change)]) == names


@pytest.mark.parametrize(
    ("override", "device"), [("search.seed=1", "auto"), ("search.resources.gpus=0", "cpu"), ("train.device=cpu", "cpu")]
)
def test_stages_are_tried_where_trials_compute(load, override, device):
    config, _ = load(override)
    assert _on_device(config.recipe, config).train.device == device


def test_pictures_on_both_sides_are_drawn(checked, tmp_path):
    found, _, config = checked
    pixels = np.random.default_rng(0)
    for i in range(8):
        for name in "ab":
            picture = Image.fromarray(pixels.integers(0, 256, (40, 40, 3), np.uint8))
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            picture.save(tmp_path / "photos" / name / f"{i}.png")
            picture.save(tmp_path / "photos" / name / f"{i} (1).png")
    data = DataConfig(source="folder", path=str(tmp_path / "photos"), image_size=32)
    config = replace(config, recipe=config.recipe.model_copy(update={"data": data}))
    dataset, layout = open_dataset(data), CheckLayout(tmp_path / "out")
    found = replace(found, data=overview(dataset), data_warnings=tuple(data_warnings(dataset, data)))
    write_check(found, dataset, config, layout)
    text = said(found, width=500)
    assert text.count("the same picture on both sides of the split: ") == 1
    assert "repeated pictures: 16 exact copies, 0 near copies of another image" in text
    assert "Pairs of the same picture" in layout.page.read_text()
    with Image.open(layout.duplicates) as picture:
        assert picture.width == 900
    write_check(found, open_dataset(data.model_copy(update={"duplicates": "group"})), config, layout)
    assert not layout.duplicates.exists()


# --- warnings ---------------------------------------------------------------------------------------------------------


def test_what_a_person_should_look_at_is_warned_of(checked):
    found, _, _ = checked
    calm = replace(
        found,
        data=Overview(("a", "b"), (9, 9), (9, 9), None, 0, 0),
        machine=replace(found.machine, cpus=2, load=0.5),
        memory=replace(found.memory, fit_in_ram=99),
    )
    wild = replace(found.tried, stages=(replace(found.tried.stages[0], val_loss=float("nan")),))
    assert calm.warnings() == []
    for change, message in [
        ({"data": Overview(("a", "b"), (9, 9), (4, 9), None, 0, 0)}, "classes with fewer than 5 validation images: 1;"),
        (
            {"data": Overview(("a", "b"), (9, 9), (9, 9), GroupSides(4, 2, 1), 0, 0)},
            "1 groups are on both sides of the split",
        ),
        ({"tried": wild}, "the loss is not finite after a few steps in head"),
        ({"memory": replace(calm.memory, fit_in_ram=0)}, "free memory has room for 0"),
        ({"memory": replace(calm.memory, fit_on_a_gpu=0)}, "a GPU has room for 0"),
        ({"checkpoints": replace(calm.checkpoints, free_bytes=10**5)}, "the checkpoints of all trials may not fit"),
        ({"machine": replace(calm.machine, load=1.5)}, "kept 1.5 of 2 cores busy"),
    ]:
        (warning,) = replace(calm, **change).warnings()
        assert message in warning
        assert message[:30] in said(replace(calm, **change))


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.resources.cpus=4000", r"search.resources.cpus: 4000 for a trial, but there are \d+"),
        ("search.resources.gpus=1", r"search.resources.gpus: 1 for a trial, but there are 0"),
        ("data.long_tail.largest=10000", "small.yaml:.* data.long_tail: largest 10000: too few training images"),
    ],
)
def test_what_would_stop_the_search_stops_the_check(load, override, message):
    config, source = load(override)
    with pytest.raises(InputError, match=message):
        check_search(config, source, Console(file=io.StringIO()))


def test_the_command_starts_neither_ray_nor_a_run(tmp_path, load):
    load()
    code = """
import sys
import trainables.trial.dry_run
trainables.trial.dry_run._MEASURE_FOR_S = 0.01
from search.cli import main
try:
    main()
finally:
    print("imported:", *[name for name in ("ray",) if name in sys.modules])
"""
    command = [sys.executable, "-c", code, "check", "small.yaml", "search.name=mine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "imported:"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checks", "small.yaml"]
    assert f"Picture:  {Path('checks/mine/classes.png')}" in done.stdout
    assert (tmp_path / "checks" / "mine" / "check.json").exists()


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "rows"), [(2, 2), (30, 30), (31, 31), (1000, 31)])
def test_a_table_of_many_classes_shows_the_largest_and_the_smallest(count, rows):
    data = Overview(tuple(map(str, range(count))), tuple(range(1, count + 1)), (1,) * count, None, 0, 0)
    shown = shown_rows(data)
    assert len(shown) == rows
    if count > 30:
        assert (shown[0], shown[15], shown[-1]) == (count - 1, None, 0)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (7_360_512, "7.4 MB"),
        (651e6, "651 MB"),
        (999.9e6, "1.0 GB"),
        (3e13, "30 TB"),
    ],
)
def test_sizes_are_said_shortly(size, text):
    assert size_of(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.034, "0.03 s"),
        (4.26, "4.3 s"),
        (45, "45 s"),
        (90, "2 min"),
        (3600, "60 min"),
        (12000, "3 h 20 min"),
        (200000, "2 d 8 h"),
    ],
)
def test_durations_are_said_shortly(seconds, text):
    assert duration(seconds) == text
