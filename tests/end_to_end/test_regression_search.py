"""A search of a regression: what may be searched, what is refused, and what is shown and exported of it."""

import copy
import io
import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from results_analysis.export.best_config import trial_config
from results_analysis.runs.columns import columns_of
from results_analysis.runs.run import load
from results_analysis.tables.file_formats import to_csv
from results_analysis.tables.results_table import best_of, results_table
from results_analysis.tables.terminal_table import render
from search.cli import main
from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_search
from search.preflight.data_and_weights import check_data_and_weights
from spaces import preset_names
from tests.results_analysis.runs.test_run import write_run
from tests.support.scored_digits import regression_recipe, write_scored_digits
from trainables.core.vocabulary import Metric
from trainables.recipe.loss_config import Huber, Mse
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunLayout

SPACE = {
    "train.stages[*].head_lr": {"log": [1e-3, 1e-2]},
    "train.loss.kind": {"choice": ["huber", "mse"]},
    "train.loss.delta": {"log": [0.3, 3.0], "when": {"train.loss.kind": "huber"}},
}
JUDGES = "use one of val_loss, spearman, r2, mae, rmse"


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    return write_scored_digits(tmp_path_factory.mktemp("scores"), 40)


@pytest.fixture
def write(tmp_path, monkeypatch, scores):
    """`write(space=…, **train)`: a search file pop.yaml in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write_file(*, space=SPACE, data=None, search=None, **train):
        config = regression_recipe(scores, **train)
        config["data"] |= data or {}
        config["space"], config["search"] = space, {"trials": 4, **(search or {})}
        Path("pop.yaml").write_text(yaml.safe_dump(copy.deepcopy(config), sort_keys=False))
        return Path("pop.yaml")

    return write_file


def mistakes(file, *overrides):
    with pytest.raises(InputError, match=r"\w") as caught:
        load_search(read_source(file, overrides))
    return [line.partition(" ")[2] for line in str(caught.value).splitlines()]


# --- what is searched -----------------------------------------------------------------------------------------------


def test_a_search_of_losses_is_valid_and_its_corners_are_regressions(write):
    config = load_search(read_source(write()))
    assert config.recipe.train.metric is Metric.SPEARMAN
    losses = {type(recipe.train.loss) for recipe in config.corner_recipes()}
    assert losses == {Huber, Mse}
    assert {recipe.data.task for recipe in config.corner_recipes()} == {"regression"}


def test_the_resolved_search_says_its_task_and_is_the_same_search(write):
    config = load_search(read_source(write(metric="mae")))
    Path("again.yaml").write_text(config.to_yaml())
    assert yaml.safe_load(config.to_yaml())["data"]["task"] == "regression"
    assert load_search(read_source(Path("again.yaml"))).to_yaml() == config.to_yaml()


@pytest.mark.parametrize("preset", ["unfreezing", "ema", "augment"])
def test_presets_of_every_task_are_valid(write, preset):
    assert load_search(read_source(write(space=preset))).corner_points()


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        pytest.param("imbalance", ["space: 'imbalance'"], id="its name alone"),
        pytest.param(["ema", "imbalance"], ["space: 'imbalance'"], id="one of several"),
        pytest.param({"preset": "full"}, ["space.preset: 'full'"], id="one that holds it"),
        pytest.param({"preset": ["full", "imbalance"]}, ["space.preset: 'imbalance'"], id="twice the same paths"),
        pytest.param(
            {"preset": "imbalance", "train.balance": None, "train.stages[*].head_lr": {"log": [1e-3, 1e-2]}},
            ["space.preset: 'imbalance'"],
            id="not all of it removed",
        ),
    ],
)
def test_a_preset_for_another_task_is_refused_in_one_message(write, space, expected):
    said = mistakes(write(space=space))
    assert len(said) == len(expected)
    for line, start in zip(said, expected, strict=True):
        assert line.startswith(f"{start} is a preset for another task than regression: it searches train.loss.kind")
        assert line.endswith("; use augment, ema, progressive, thumbnails, unfreezing")


def test_a_preset_whose_other_task_is_replaced_is_welcome(write):
    own = {"train.loss.kind": {"choice": ["huber", "mse"]}}
    config = load_search(read_source(write(space={"preset": ["imbalance", "ema"], **own})))
    assert set(config.space.parameters) == {"train.loss.kind", "train.ema.decay"}


def test_every_preset_is_still_one_of_classification(write):
    data = {"task": "classification", "source": "digits", "path": None}
    for preset in set(preset_names()) - {"mammography"}:  # which wants a single stage, and has a test of its own
        assert load_search(read_source(write(space=preset, data=data, batch_size=16)))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param(
            {"space": {"train.loss.kind": {"choice": ["huber", "ldam"]}}},
            [
                "space.train.loss.kind: 'ldam' is a loss of classification, but data.task is 'regression'; "
                "use one of huber, mse"
            ],
            id="a loss among the choices",
        ),
        pytest.param(
            {"space": {"train.drw.start_fraction": {"float": [0.2, 0.8]}}},
            [
                "space.train.drw.start_fraction: with 0.2, train.drw: applies only to classes, but data.task is 'regression'; "
            ],
            id="re-weighting",
        ),
        pytest.param(
            {"space": {"data.task": {"choice": ["classification", "regression"]}}},
            ["space.data.task: cannot be searched: trials would be compared by different metrics"],
            id="the task itself",
        ),
        pytest.param(
            {"metric": "kappa"}, [f"train.metric: 'kappa' is a metric of classification, but .*; {JUDGES}"], id="metric"
        ),
    ],
)
def test_what_is_of_the_other_task_is_told_at_its_place(write, file, expected):
    said = mistakes(write(**file))
    assert len(said) == len(expected)
    for line, pattern in zip(said, expected, strict=True):
        assert re.match(pattern.replace("[", r"\["), line), line


def test_the_data_is_summed_up_in_a_line(write):
    screen = io.StringIO()
    source = read_source(write())
    check_data_and_weights([load_search(source).recipe], source, Console(file=screen, width=60))
    number = r"\d[\d.]*"
    line = rf"32 training images with targets from {number} to {number} \({number} ± {number}\), 8 to validate, 32 px\n"
    assert re.fullmatch(line, screen.getvalue())


def test_a_bad_cell_is_told_with_the_line_of_the_file_that_names_its_column(write, scores):
    table = pd.read_csv(scores, dtype=str)
    table["path"] = [str(scores.parent / path) for path in table["path"]]
    table.loc[[2, 5], "label"] = ["", "high"]
    table.to_csv("bad.csv", index=False)
    source = read_source(write(data={"path": "bad.csv"}))
    with pytest.raises(
        InputError, match=r"^pop\.yaml:\d+ data\.columns\.label: 2 rows have no finite .* 3 \(empty\), 6 \('high'\)$"
    ):
        check_data_and_weights([load_search(source).recipe], source, Console(file=io.StringIO()))


# --- what is shown --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """Three trials whose mean absolute error was smallest in their second epoch."""

    def numbers(best):
        return {
            "metrics": {"mae": best, "r2": 0.5, "spearman": 0.6, "rmse": 2.0, "val_loss": 0.5, "prediction_spread": 0.4}
        }

    trials = [
        {"scores": [9.0, mae, 8.5], "params": {"train.loss.kind": "huber"}, "epoch": numbers(mae), "status": status}
        for mae, status in ((3.25, "finished"), (1.5, "finished"), (1.0, "pruned"))
    ]
    root = write_run(tmp_path / "r", trials, metric=Metric.MAE)
    config = yaml.safe_load(RunLayout(root).config.read_text())
    config["data"]["task"] = "regression"
    RunLayout(root).config.write_text(yaml.safe_dump(config))
    return load(root)


def test_the_best_trial_has_the_smallest_error(run):
    table = results_table(run)
    assert run.task == "regression"
    assert table["trial"].tolist() == [2, 1, 0]
    assert best_of(table, run.metric) == 1, "of the finished ones"
    assert trial_config(run)["provenance"]["score"] == 1.5
    for order, metric in (([2, 1, 0], "mae"), ([0, 1, 2], "-mae")):
        assert results_table(run, sort=metric)["trial"].tolist() == order


def test_a_table_has_the_columns_of_its_task(run):
    table = run.trials()
    assert {name: str(kind) for name, kind in table.dtypes.items() if "." not in name} == columns_of("regression")
    assert {"mae", "rmse", "r2", "spearman", "val_loss", "prediction_spread"} <= set(columns_of("regression"))
    assert not {"kappa", "auc", "classes_predicted"} & set(columns_of("regression"))
    assert not {"mae", "spearman", "prediction_spread"} & set(columns_of("classification"))
    assert to_csv(table).count("\n") == 4


def test_the_terminal_shows_errors_and_correlations(run):
    console = Console(width=120)
    with console.capture() as capture:
        console.print(render(results_table(run), run.metric, width=120))
    said = capture.get()
    assert "score: mae, lower is better" in said
    assert re.search(r"★ 1 +finished +1\.5000 +2/3", said)
    assert all(column in said for column in ("spearman", "r2", "rmse"))
    assert "kappa" not in said


# --- whole commands -------------------------------------------------------------------------------------------------


def test_a_recipe_trains_on_the_command_line_and_draws_its_curves(write, capsys, monkeypatch):
    config = yaml.safe_load(write(metric="rmse").read_text())
    config["train"]["stages"] = [{**config["train"]["stages"][0], "epochs": 2}]
    Path("one.yaml").write_text(yaml.safe_dump({key: config[key] for key in ("data", "model", "train")}))
    monkeypatch.setattr(sys, "argv", ["thaw", "train", "one.yaml"])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()
    said = capsys.readouterr().out
    assert re.search(r"epoch 2/2  head 2/2  loss \d\.\d{4}/\d\.\d{4}  spearman .*  RMSE \d+\.\d{3}  best RMSE", said)
    (folder,) = Path("runs").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"validation/rmse", "validation/spearman", "validation/prediction_spread", "loss/validation"} <= tags
    assert not {"validation/kappa", "validation/classes_predicted"} & tags


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["spearman", "mae"])
def test_a_search_finds_exports_and_trains_again_bit_for_bit(write, metric, thaw_here):
    scheduler = {"kind": "asha", "grace_epochs": 2, "reduction": 2}
    file = write(metric=metric, search={"scheduler": scheduler, "max_concurrent": 1})

    def done(*words):
        answer = thaw_here(*words, folder=Path.cwd())
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    assert "Best config" in done("search", str(file))
    run = RunLayout("runs/pop")
    rows = json.loads(done("results", "pop", "--format", "json"))
    better = min if metric == "mae" else max
    finished = [row for row in rows if row["status"] == "finished"]
    best = better(finished, key=lambda row: row["score"])
    exported = yaml.safe_load(run.best.read_text())
    assert exported["provenance"]["trial"] == best["trial"]
    assert exported["data"]["task"] == "regression"
    assert {"target_mean", "target_std"} <= set(exported["provenance"]["environment"])
    for trial in run.all_trials():
        scores = [report[metric] for report in read_epochs(trial.epochs)]
        assert read_epochs(trial.epochs)[-1]["best_score"] == better(scores)
    assert "to the last bit" in done("train", "runs/pop/best.yaml")
