"""The report of a single training run as a file: it shows what the run left, whatever that is."""

import html
import math
import os

import pytest

from results_analysis import find_search_or_training, load, trial_of, write_training_report
from results_analysis.report.page import Thumbnail
from results_analysis.report.serve import state_of
from results_analysis.runs.errors import RunError
from tests.results_analysis.report.test_report import HOSTILE, Page, data_of
from tests.support.project import PROJECT
from tests.support.trained_runs import write_training
from trainables.core.vocabulary import Metric

ROWS = [
    {"image": "/data/a/1.png", "group": "p1", "label": "cat", "prediction": "dog", "confidence": 0.6},
    {"image": "/data/b/2.png", "group": "p2", "label": "cat", "prediction": HOSTILE, "confidence": 0.9},
    {"image": "/data/b/3.png", "group": None, "label": "dog", "prediction": "dog", "confidence": 0.99},
    {"image": "/data/c/4.png", "group": None, "label": "owl", "prediction": "cat", "confidence": math.nan},
]
NUMBERS = [{"image": i, "label": float(i), "prediction": i + 0.5 * i} for i in range(4)]
NEW = {
    "train_accuracy": 0.8,
    "grad_norm": 1.5,
    "stage_end": "plateau of 5 epochs at 0.41",
    "opened": {
        "blocks": ["features.7"],
        "parameters": 123456,
        "share": 0.034,
        "batch_norms_open": 4,
        "batch_norms_frozen": 40,
    },
}


def text_of(run, **options):
    return write_training_report(run, **options).read_text(encoding="utf-8")


@pytest.fixture
def write(tmp_path):
    return lambda *args, **kinds: write_training(tmp_path / "run", *args, **kinds)


def test_it_shows_the_run_its_stages_its_classes_and_its_worst_errors(write):
    run = write((0.4, 0.5, 0.6), predictions=ROWS, fields=dict.fromkeys((1, 2, 3), NEW))
    shown = {"/data/b/2.png": Thumbnail("data:image/jpeg;base64,AAAA"), "/data/a/1.png": Thumbnail(None, "is empty")}
    text = text_of(run, thumbnails=lambda images: {image: shown[image] for image in images if image in shown})
    read = Page(text)

    assert {name.rsplit("-", 1)[0] for name in data_of(text, "figures")} == {"history", "recall", "confusion"}
    assert {name for panel in data_of(text, "figures")["history-0"]["data"] for name in [panel["name"]]} == {
        *("training loss", "validation loss", "balanced accuracy", "training accuracy", "learning rate of the head"),
        *("learning rate of the backbone", "norm of the gradient", "best epoch (3)"),
    }
    assert "head, features.7; 123,456 parameters (3.4% of the network); BatchNorms: 4 open, 40 frozen" in read.text
    assert "plateau of 5 epochs at 0.41" in read.text
    assert "The network is wrong on 3 of 4 validation images." in read.text
    gallery = read.text[read.text.index("The network is wrong on") :]
    assert [gallery.index(name) for name in ("b/2.png", "a/1.png", "c/4.png")] == sorted(
        gallery.index(name) for name in ("b/2.png", "a/1.png", "c/4.png")
    )
    assert "b/3.png" not in gallery
    assert ("img", {"src": "data:image/jpeg;base64,AAAA", "alt": "true cat"}) in read.elements
    assert "is empty" in gallery
    assert "group p1" in gallery


def test_a_hostile_name_stays_a_name_and_the_network_is_not_asked(write):
    text = text_of(write(classes=(HOSTILE, "<b>bold</b>", "{{ 7 * 7 }}"), predictions=ROWS))

    assert HOSTILE not in text
    assert html.escape(HOSTILE) in text
    assert "<b>bold</b>" not in text
    assert "default-src 'none'" in text
    links = [attributes.get("href", "#") for _, attributes in Page(text).elements]
    assert all(link.startswith(("#", "data:")) for link in links)


def test_the_same_run_gives_the_same_page(write):
    run = write(predictions=ROWS)
    assert text_of(run) == text_of(run)


NAN = math.nan


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scores", "kinds", "says"),
    [
        ((), {"status": "running"}, "No epoch has finished yet."),
        ((0.5,), {}, "in epoch 1 of 1"),
        ((0.5, NAN), {"status": "running"}, "Predictions are written when the run ends."),
        ((NAN, NAN), {"flags": {2: ["nan"]}, "stopped_for": "nan"}, "training diverged"),
        ((0.5, 0.6), {"classes": ("only",)}, "The data has only one class"),
        ((0.5, 0.6), {"classes": [f"class {i}" for i in range(200)]}, "These are the 60 worst of 200 classes."),
        ((0.5, 0.6), {"metric": Metric.VAL_LOSS}, "The best validation loss is"),
        (
            (0.5, 0.6),
            {"metric": Metric.SPEARMAN, "task": "regression", "predictions": NUMBERS},
            "The largest errors among 4 validation images.",
        ),
        ((0.5, 0.6), {"metric": Metric.SPEARMAN, "task": "regression"}, "The run left no predictions"),
        ((0.5, 0.6), {"predictions": ROWS[2:3]}, "Every validation image is predicted correctly."),
        ((0.5, 0.6), {"predictions": [{"image": "a"}]}, "val_predictions.parquet has no column label, prediction."),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_each_run_gives_a_report_that_says_so(write, scores, kinds, says):
    assert says in Page(text_of(write(scores, **kinds))).text


@pytest.mark.slow
def test_a_trial_of_an_older_version_can_be_reported(tmp_path):
    old = load(PROJECT / "tests" / "run_folders" / "2026-11" / "small")
    text = Page(text_of(trial_of(old, 0), file=tmp_path / "page.html", said=["small", "--trial", "0"])).text
    assert "thaw export small --trial 0" in text


def test_a_run_is_found_by_its_name_and_proposed_for_one_that_is_misspelt(write):
    folder = write().folder.root
    assert find_search_or_training(folder.name, folder.parent).name == folder.name
    with pytest.raises(RunError, match=f"no run '00x0' in .*; did you mean '{folder.name}'"):
        find_search_or_training("00x0", folder.parent)


def test_a_page_that_is_served_is_written_again_after_an_epoch(write):
    run = write((0.5, 0.6), status="running")
    before = state_of(run)
    with run.folder.epochs.open("a") as file:
        file.write("\n")
    os.utime(run.folder.epochs, (1, 1))
    assert state_of(run) != before
