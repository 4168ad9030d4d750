"""`thaw export --model`, `predict`, `embed` and `compare` as a user types them."""

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from search.cli import main
from tests.support.photo_runs import pack, photo_recipe, train, validation_files, write_photos
from trainables.core.vocabulary import TrialStatus
from trainables.data.dataset import open_dataset
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import TrialRecord, now


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with photos, a search `digits` of two trials, a run `single` of `thaw train` and a `model`."""
    folder = tmp_path_factory.mktemp("finished")
    photos = write_photos(folder / "photos")
    layout = RunLayout(folder / "runs" / "digits")
    for number, changes in enumerate(({"loss": {"kind": "ldam"}}, {"seed": 1})):
        trial = train(photo_recipe(photos, **changes), layout.trial(number).root)
        record = TrialRecord(
            number=number, params={"train.seed": number}, status=TrialStatus.FINISHED, started=now(), ended=now()
        )
        record.write(trial)
    recipe = parse_recipe(photo_recipe(photos)).model_dump(mode="json")
    layout.config.write_text(yaml.safe_dump({**recipe, "space": {}, "search": {"trials": 2}}))
    shutil.copytree(layout.trial(0).root, folder / "runs" / "single")
    (folder / "runs" / "single" / "trial.json").unlink()
    pack(layout.trial(0), folder / "model")
    return folder


@pytest.fixture
def thaw(finished, tmp_path, monkeypatch, capsys):
    """`thaw(*words)`: what a command writes to standard output and to standard error, in a copy of the folder."""
    folder = shutil.copytree(finished, tmp_path / "here", dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["thaw", *words])
        with pytest.raises(SystemExit, match=f"^{code}$"):
            main()
        return capsys.readouterr()

    return run


@pytest.fixture
def model():
    """Of the search's first trial."""
    return "model"


# --- export ---------------------------------------------------------------------------------------------------------


def test_a_trials_model_is_written_and_said_to_be_what_was_reported(thaw, tmp_path):
    out, _ = thaw("export", "digits", "--model", "models/best")
    report, path = out.splitlines()
    assert report.startswith("models/best: balanced_accuracy 0.")
    assert report.endswith(" on 21 validation images, identical to the training log")
    assert path == "runs/digits/best.yaml"
    assert "# best\n" in (tmp_path / "here" / "models" / "best" / "README.md").read_text()


def test_a_run_of_thaw_train_is_exported_by_name_and_by_folder(thaw, tmp_path):
    out, _ = thaw("export", "single", "--model", "one")
    assert out.splitlines()[-1] == "runs/single/best.yaml"
    thaw("export", "runs/single", "--model", "two", "-o", "mine.yaml")
    here = tmp_path / "here"
    assert (here / "mine.yaml").read_text().startswith("# The run 'single': balanced_accuracy 0.")
    assert (here / "one" / "model.safetensors").read_bytes() == (here / "two" / "model.safetensors").read_bytes()
    lines = thaw("train", "mine.yaml").out.splitlines()
    assert lines[-1].endswith("the same as single, to the last bit")


def test_a_rule_says_why_it_kept_what(thaw):
    out, _ = thaw("export", "digits", "--within", "1", "--cheapest")
    assert out.startswith("trial ")
    assert ": the cheapest by train_s (" in out
    assert ") of 2 finished trials within 1 of the best score 0." in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits", "--within", "1se"], "--within and --cheapest need each other, as in --within 1se --cheapest"),
        (["digits", "--cheapest"], "--within and --cheapest need each other"),
        (["digits", "--cost", "train_s"], "--cost needs both"),
        (
            ["digits", "--within", "1se", "--cheapest", "--trial", "1"],
            "--trial, --within and --confirmed each choose the trial",
        ),
        (["digits", "--onnx"], "--onnx needs --model DIR"),
        (["single", "--trial", "0"], "single is a single training run: it has no trials to choose from"),
        (["gone"], "no run 'gone' in 'runs'"),
        (["digits", "--model", "photos"], "photos already exists; remove it, or name another folder"),
    ],
)
def test_what_cannot_be_exported_is_one_message(thaw, words, message):
    out, err = thaw("export", *words, code=2)
    assert out == ""
    assert err.startswith("error: ")
    assert message in err


def test_without_its_data_a_model_cannot_be_written_and_nothing_is(thaw, tmp_path):
    recipe = tmp_path / "here" / "runs" / "single" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("/photos", "/gone"))
    assert "data.path" in thaw("export", "single", "--model", "new", code=2).err
    assert not (tmp_path / "here" / "new").exists()
    assert not (tmp_path / "here" / "runs" / "single" / "best.yaml").exists()


# --- predict --------------------------------------------------------------------------------------------------------


def test_predictions_of_the_validation_images_are_what_the_trial_was_judged_by(thaw, model, finished):
    recipe = parse_recipe(photo_recipe(finished / "photos"))
    dataset = open_dataset(recipe.data)
    rows = zip(validation_files(finished / "photos", dataset), dataset.labels[dataset.validation], strict=True)
    with Path("list.csv").open("w") as file:
        file.writelines(["path,label\n", *(f"{path},{dataset.classes[label]}\n" for path, label in rows)])
    out, err = thaw("predict", model, "list.csv")
    table = pd.read_csv(io.StringIO(out))
    validation = json.loads(Path("model/model.json").read_text())["validation"]
    found = pd.crosstab(table["truth"], table["prediction"]).reindex(index=dataset.classes, columns=dataset.classes)
    assert found.fillna(0).to_numpy().tolist() == validation["confusion"]
    accuracy = (table["truth"] == table["prediction"]).mean()
    assert accuracy == validation["metrics"]["accuracy"]
    assert err == (
        f"on 21 images whose truth is known: accuracy {accuracy:.4f}, "
        f"balanced accuracy {validation['metrics']['balanced_accuracy']:.4f}\n"
    )


def test_a_row_has_the_class_its_probability_and_those_of_all(thaw, model):
    out, _ = thaw("predict", model, "photos/zero/000.png", "photos/four/000.png")
    table = pd.read_csv(io.StringIO(out))
    assert list(table) == ["path", "prediction", "probability", "p_eight", "p_four", "p_zero"]
    assert table["path"].tolist() == ["photos/zero/000.png", "photos/four/000.png"]
    shares = table[["p_eight", "p_four", "p_zero"]]
    assert np.allclose(shares.sum(axis=1), 1)
    assert (shares.max(axis=1) == table["probability"]).all()


def test_the_most_probable_classes_alone_may_be_asked_for(thaw, model):
    thaw("predict", model, "photos/zero", "--top", "2", "-o", "out.json")
    (row, *_) = json.loads(Path("out.json").read_text())
    assert list(row) == ["path", "prediction", "probability", "prediction_2", "probability_2"]
    assert row["probability"] >= row["probability_2"]


@pytest.mark.parametrize(
    ("file", "read"), [("o.csv", pd.read_csv), ("o.json", pd.read_json), ("o.parquet", pd.read_parquet)]
)
def test_predictions_are_written_in_the_format_of_the_ending(thaw, model, file, read):
    _, err = thaw("predict", model, "photos", "-o", file)
    table = read(file)
    assert len(table) == 70
    assert table["truth"].value_counts().to_dict() == {"eight": 40, "four": 20, "zero": 10}
    assert err.startswith(f"{file}: 70 predictions\non 70 images whose truth is known: accuracy ")


def test_bad_images_are_a_line_each_and_left_out(thaw, model):
    for name, content in (("a", b""), ("b", b"no image")):
        Path(f"photos/zero/{name}.png").write_bytes(content)
    out, err = thaw("predict", model, "photos/zero")
    assert len(out.splitlines()) == 1 + 10
    assert err == (
        "left out: photos/zero/a.png: is empty\n"
        "left out: photos/zero/b.png: is not an image, or its header is damaged\n"
        "left out in all: 2 of 12 images\n"
    )


def test_bad_images_may_stop_everything(thaw, model, tmp_path):
    Path("photos/zero/a.png").touch()
    out, err = thaw("predict", model, "photos/zero", "--on-bad", "fail", "-o", "out.csv", code=2)
    assert out == ""
    assert err == "error: 1 of 11 images cannot be read:\n  photos/zero/a.png: is empty\n"
    assert not (tmp_path / "here" / "out.csv").exists()


def test_where_no_image_can_be_read_that_is_an_error(thaw, model):
    err = thaw("predict", model, "model/README.md", code=2).err
    assert err == "error: 1 of 1 images cannot be read:\n  model/README.md: is not an image, or its header is damaged\n"


def test_a_grey_image_is_predicted_by_a_model_of_colours(thaw, model):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save("grey.png")
    assert len(thaw("predict", model, "grey.png").out.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone", "photos"], "gone is not a model: there is no such folder"),
        (["model", "gone"], "gone does not exist"),
        (
            ["model", "photos", "-o", "out.xls"],
            r"out.xls: the ending determines the format; valid are .csv, .json, .parquet",
        ),
        (["model", "photos", "--onnx"], "model was exported without ONNX"),
    ],
)
def test_what_cannot_be_predicted_is_one_message(thaw, model, words, message):
    out, err = thaw("predict", *words, code=2)
    assert out == ""
    assert err.startswith("error: ")
    assert message in err


# --- embed ----------------------------------------------------------------------------------------------------------


def test_features_are_written_with_what_is_known_of_each_image(thaw, model):
    thaw("embed", model, "photos", "-o", "features.parquet")
    _, err = thaw("embed", model, "photos", "-o", "features.npz")
    table, arrays = pd.read_parquet("features.parquet"), np.load("features.npz")
    assert err == "features.npz: 70 images, 1280 features each\n"
    assert list(table)[:4] == ["path", "label", "prediction", "f0"]
    assert np.array_equal(table.filter(regex=r"^f\d+$").to_numpy(np.float32), arrays["features"])
    assert arrays["features"].shape == (70, 1280)
    assert arrays["path"].tolist() == table["path"].tolist()
    assert arrays["label"].tolist() == table["label"].tolist()


def test_features_of_one_class_lie_together(thaw, model):
    from sklearn.linear_model import LogisticRegression

    thaw("embed", model, "photos", "-o", "features.npz")
    arrays = np.load("features.npz")
    told = LogisticRegression(max_iter=500).fit(arrays["features"][::2], arrays["label"][::2])
    assert told.score(arrays["features"][1::2], arrays["label"][1::2]) > 0.7


@pytest.mark.slow
def test_a_models_features_are_mapped_and_clustered(thaw, model):
    _, err = thaw(
        "embed", model, "photos", "-o", "map.parquet", "--reduce", "pca", "--cluster", "kmeans", "--clusters", "3"
    )
    assert "kmeans on principal components: 3 clusters, silhouette" in err
    assert "agreement with 3 labels: adjusted Rand" in err
    assert {"x", "y", "cluster", "label", "prediction"} < set(pd.read_parquet("map.parquet"))
    assert Path("map.png").exists()
    assert Path("map.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["model", "photos", "--backbone", "resnet18"],
            "--backbone: model is a trained model, with a network of its own",
        ),
        (["model"], "model is a trained model: name the images to embed after it"),
    ],
)
def test_a_model_has_its_own_network_and_needs_images(thaw, words, message):
    assert message in thaw("embed", *words, "-o", "x.npz", code=2).err


def test_features_want_a_format_that_can_hold_them(thaw, model):
    assert "valid are .parquet, .npz" in thaw("embed", model, "photos", "-o", "x.csv", code=2).err


# --- compare --------------------------------------------------------------------------------------------------------


def test_two_trials_are_compared_where_they_differ(thaw):
    found = json.loads(thaw("compare", "digits:0", "digits:1", "--format", "json").out)
    assert found["compared"] == ["digits:0", "digits:1"]
    assert found["config"]["train.seed"] == [0, 1]
    assert found["config"]["train.loss.kind"] == ["ldam", "cross_entropy"]
    assert "data.image_size" not in found["config"]
    assert all(isinstance(score, float) for score in found["results"]["score"])
    assert set(found["recall"]) == {"eight", "four", "zero"}


def test_a_written_recipe_is_compared_with_its_defaults(thaw, finished):
    with Path("mine.yaml").open("w") as file:
        yaml.safe_dump(photo_recipe(finished / "photos", batch_size=8), file)
    found = json.loads(thaw("compare", "mine.yaml", "digits:1", "--format", "json").out)
    assert found["config"] == {"train.seed": [0, 1], "train.batch_size": [8, 16]}


def test_a_model_and_the_trial_it_comes_from_are_the_same(thaw, model):
    out, _ = thaw("compare", model, "digits:0", "--format", "markdown")
    assert out.startswith(
        "## Differences in the config\n\n|  | model | digits:0 |\n| --- | --- | --- |\n| nothing differs |"
    )
    found = json.loads(thaw("compare", model, "digits:0", "--format", "json").out)
    assert found["results"]["auc"][0] == found["results"]["auc"][1]
    assert set(found["recall"]) == {"eight", "four", "zero"}
    assert all(of_model == of_trial for of_model, of_trial in found["recall"].values())


def test_a_terminal_is_given_tables(thaw):
    out, _ = thaw("compare", "digits:0", "runs/single")
    assert "differences in the config" in out
    assert "nothing differs" in out
    assert "balanced_accuracy" in out


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (["gone", "single"], "no run 'gone'"),
        (["digits:7", "single"], "run 'digits' has no trial 7"),
        (["single:1", "digits"], "single is a single training run: it has no trial 1"),
        (["gone.yaml", "single"], "gone.yaml is missing"),
        (["odd.yaml", "single"], "odd.yaml is not a recipe: model, train missing"),
    ],
)
def test_what_cannot_be_compared_is_one_message(thaw, sides, message):
    with Path("odd.yaml").open("w") as file:
        file.write("data: {}\n")
    assert message in thaw("compare", *sides, code=2).err
