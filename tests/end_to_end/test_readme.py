"""What the README and the pages of docs/ show works as it stands there."""

import re
import subprocess
import sys

import pytest
import typer.main
import yaml

from search.cli import GROUPS, app
from search.config.yaml_source import read_source
from search.config_file.load import load_search
from tests.support.project import PROJECT as ROOT
from trainables.data.dataset import open_dataset
from trainables.models.build_model import check_model
from trainables.recipe.data_config import DataConfig
from trainables.recipe.model_config import ModelConfig
from trainables.recipe.recipe import parse_recipe

FILES = {page.stem: page for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]}
PAGES = {name: page.read_text(encoding="utf-8") for name, page in FILES.items()}


def shown(page: str, language: str) -> list[str]:
    """Blocks of a page: `yaml` is a whole search file, `yml` a part of one."""
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


@pytest.fixture
def shown_search(tmp_path):
    """`shown_search("data", "path=value")`: the search file that a page shows, loaded."""

    def load(page, *overrides):
        file = tmp_path / "search.yaml"
        file.write_text(shown(page, "yaml")[0])
        return load_search(read_source(file, list(overrides)))

    return load


def test_the_search_file_it_shows_is_valid(shown_search):
    config = shown_search("README", "train.batch_size=64", "search.trials=8")
    assert (config.recipe.train.batch_size, config.settings.trials) == (64, 8)


def test_the_search_on_volumes_it_shows_is_valid(shown_search):
    recipe = shown_search("data").recipe
    assert (recipe.data.depth, recipe.model.backbone) == (96, "medicalnet_resnet50")
    assert recipe.train.stages[1].head_lr == 10 * recipe.train.stages[1].backbone_lr


def test_the_data_section_it_shows_is_valid():
    part = next(text for text in shown("data", "yml") if "density" in text)
    data = DataConfig.model_validate(yaml.safe_load(part)["data"])
    assert data.columns.named() == {"path": "file", "label": "density", "group": "patient"}
    assert data.labels == {"1": "AB", "2": "AB", "3": "CD", "4": "CD", "5": None}


def test_the_backbone_it_shows_is_one(own_module):
    (code,) = shown("training", "python")
    module = own_module(code.replace('weights="DEFAULT"', "weights=None"))
    check_model(ModelConfig(backbone=f"{module}:shufflenet"), image_size=64)


def test_the_stages_it_shows_are_valid():
    recipe = parse_recipe(
        {**yaml.safe_load(shown("training", "yml")[0]), "data": {"source": "digits", "image_size": 32}}
    )
    assert [stage.unfreeze_from for stage in recipe.train.stages] == ["head", "last:2", "all"]


def test_the_regression_it_shows_is_valid():
    parts = yaml.safe_load(next(text for text in shown("data", "yml") if "regression" in text))
    parts["train"]["stages"] = [{"name": "head", "unfreeze_from": "head"}]
    recipe = parse_recipe({**parts, "model": {"backbone": "resnet18"}})
    defaults = parse_recipe({**parts, "model": {"backbone": "resnet18"}, "train": {"stages": parts["train"]["stages"]}})
    assert recipe == defaults, "it shows what would be so anyway"


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_example_is_valid(example):
    load_search(read_source(example))


def named(pattern: str) -> list[tuple[str, str]]:
    return sorted({(page, found) for page, text in PAGES.items() for found in re.findall(pattern, text)})


@pytest.mark.parametrize(("page", "command"), named(r"(?:^|`)thaw ([a-z]+)"))
def test_a_command_it_names_exists(page, command):
    assert command in typer.main.get_command(app).commands


def test_the_readme_groups_the_commands_as_the_help_does():
    rows = re.findall(r"\| \*\*(.+)\*\* \| (.+) \|", PAGES["README"].partition("## Commands")[2].partition("## ")[0])
    assert {heading: set(re.findall(r"`([a-z]+)`", text)) for heading, text in rows} == {
        heading: {command.__name__ for command in commands} for heading, commands in GROUPS.items()
    }


@pytest.mark.parametrize(("page", "target"), named(r"\]\(([\w./-]+)[)#]"))
def test_what_it_links_to_is_there(page, target):
    assert (FILES[page].parent / target).exists()


def test_the_volumes_of_the_example_can_be_made_and_read(tmp_path, monkeypatch):
    subprocess.run([sys.executable, ROOT / "examples" / "make_volumes.py", tmp_path / "volumes.npz"], check=True)
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset(load_search(read_source(ROOT / "examples" / "volumes.yaml")).recipe.data)
    assert dataset.images.shape == (172, 16, 16, 16, 1)
    assert list(dataset.train_counts) == [80, 24, 8]
