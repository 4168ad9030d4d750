"""`thaw report` of a run of `thaw train`: from the training to the page."""

import copy
import sys

import pytest
import yaml

from search.cli import main
from tests.results_analysis.report.test_report import Page
from tests.support.recipes import FEW, RECIPE


@pytest.fixture
def thaw(tmp_path, monkeypatch, capsys):
    """`thaw(*words, code=0)`: what a command prints, in tmp_path."""
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["thaw", *words])
        with pytest.raises(SystemExit, match=f"^{code}$"):
            main()
        return "".join(capsys.readouterr())

    return run


@pytest.mark.slow
def test_a_run_of_train_is_reported_with_pictures_of_its_worst_errors(thaw, tmp_path):
    recipe = copy.deepcopy(RECIPE)
    recipe["data"] |= FEW
    recipe["train"]["stages"] = [{"name": "head", "unfreeze_from": "head", "epochs": 1, "head_lr": 0.05}]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    thaw("train", "mine.yaml")
    (folder,) = (tmp_path / "runs").glob("mine-*")

    assert thaw("report", folder.name).strip() == f"runs/{folder.name}/report.html"
    read = Page((folder / "report.html").read_text(encoding="utf-8"))
    pictures = [attributes["src"] for tag, attributes in read.elements if tag == "img"]
    assert 0 < len(pictures) <= 24
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    assert "its one epoch is done" in read.text
    assert f"thaw export {folder.name}" in read.text

    refused = thaw("report", folder.name, "--trial", "0", code=2)
    assert f"--trial 0: {folder.name} is a single training run" in refused
