"""A search file as a user writes it, and what is loaded from it or said about it."""

import sys

import pytest
import yaml

from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_search

FILE = """\
data:
  source: digits
  image_size: 32
model:
  backbone: efficientnet_lite0
train:
  metric: kappa
  stages:
    - name: head
      unfreeze_from: head
    - name: top
      unfreeze_from: last:2
      epochs: 6
  loss: {kind: ldam}
space:
  train.loss.max_margin: {float: [0.2, 0.8]}
  train.stages[*].head_lr: {log: [1e-3, 0.1]}
search:
  trials: 8
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """`write(text)`: search.yaml in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write_text(text, name="search.yaml"):
        file = tmp_path / name
        file.write_text(text)
        return file.relative_to(tmp_path)

    return write_text


@pytest.fixture
def load(write):
    """`load(text, *overrides)`: the config in a file search.yaml."""
    return lambda text, *overrides: load_search(read_source(write(text), overrides))


@pytest.fixture
def mistakes(load):
    """`mistakes(text, *overrides)`: what is said about a file, line by line."""

    def lines(text, *overrides):
        with pytest.raises(InputError, match=r"\w") as caught:
            load(text, *overrides)
        return str(caught.value).splitlines()

    return lines


def replaced(old, new, text=FILE):
    assert text.count(old) == 1
    return text.replace(old, new)


def without(section, text=FILE):
    data = yaml.safe_load(text)
    del data[section]
    return yaml.safe_dump(data)


FUNCTIONS = """
def batch(trial):
    return {"train.batch_size": trial.suggest_int("batch", 8, 64)}

def nothing(trial):
    return None

def broken(trial):
    return {}["x"]

def sometimes_broken(trial):
    return {"train.batch_size": 10 // trial.suggest_int("batch", 0, 3)}

def typo(trial):
    return {"train.bach_size": trial.suggest_int("batch", 8, 64)}

def nowhere(trial):
    return {"train.stages[9].epochs": 1}

def metric(trial):
    return {"train.metric": "auc"}

def negative(trial):
    return {"train.batch_size": -trial.suggest_int("batch", 8, 64)}
"""


@pytest.fixture
def functions(tmp_path, monkeypatch):
    (tmp_path / "my_functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_functions", None)
