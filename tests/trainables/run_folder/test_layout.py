import subprocess
import sys

import pytest

from trainables.core.atomic_write import replacing
from trainables.core.vocabulary import FALLBACK_ORDER, Metric, metrics_of
from trainables.run_folder.layout import RunFileError, RunLayout, TrialLayout, checkpoint_name


@pytest.mark.parametrize(
    ("epoch", "stage", "metric", "score", "name"),
    [
        (7, "head", "kappa", 0.81234, "0007_head_kappa=0.8123.pt"),
        (12345, "last_3", Metric.VAL_LOSS, 1.0, "12345_last_3_val_loss=1.0000.pt"),
        (1, "a-b", "accuracy", float("nan"), "0001_a-b_accuracy=nan.pt"),
    ],
)
def test_a_checkpoint_is_named_by_epoch_stage_and_score(epoch, stage, metric, score, name):
    assert checkpoint_name(epoch, stage, metric, score) == name


@pytest.mark.parametrize("metric", Metric)
def test_a_metric_knows_which_way_is_better(metric):
    minimised = metric in {"val_loss", "mae", "rmse"}
    assert metric.better(*((0.1, 0.2) if minimised else (0.2, 0.1)))
    assert not metric.better(0.1, 0.1)
    assert not metric.better(float("nan"), 0.1)
    assert metric.mode == ("min" if minimised else "max")
    assert metric.better(-1e9 if not minimised else 1e9, than=metric.worst)


def test_each_metric_judges_one_task_and_the_validation_loss_both():
    regression, classification = set(metrics_of("regression")), set(metrics_of("classification"))
    assert {metric.value for metric in regression} == {"val_loss", "spearman", "r2", "mae", "rmse"}
    assert regression | classification == set(Metric)
    assert regression & classification == {Metric.VAL_LOSS}


def test_the_best_epoch_falls_back_in_this_order():
    names = ["adjusted_balanced_accuracy", "kappa", "auc", "macro_f1", "accuracy", "r2"]
    assert [metric.value for metric in FALLBACK_ORDER] == names


# --- folders --------------------------------------------------------------------------------------------------------


def test_trials_are_listed_by_number(tmp_path):
    run = RunLayout(tmp_path)
    assert run.all_trials() == []
    for number in (10, 2, 0, 9999, 10000):
        run.trial(number).root.mkdir(parents=True)
    for stranger in ("notes", ".hidden", "0003.bak", "-001"):
        (run.trials / stranger).mkdir()
    trials = run.all_trials()
    assert [trial.number for trial in trials] == [0, 2, 10, 9999, 10000]
    assert [trial.root.name for trial in trials] == ["0000", "0002", "0010", "9999", "10000"]
    assert all(isinstance(trial, TrialLayout) for trial in trials)


@pytest.mark.parametrize(("content", "attempt"), [(None, 0), ("1", 1), ("12\n", 12)])
def test_the_newest_attempt_is_read(tmp_path, content, attempt):
    run = RunLayout(tmp_path)
    if content is not None:
        run.attempt.write_text(content)
    assert run.read_attempt() == attempt


def test_files_have_their_names(tmp_path):
    trial = RunLayout(str(tmp_path)).trial(7)
    assert trial.root == tmp_path / "trials" / "0007"
    files = (trial.recipe, trial.trial, trial.environment, trial.epochs, trial.log, trial.checkpoints, trial.error)
    assert [file.relative_to(trial.root).as_posix() for file in files] == [
        "recipe.yaml",
        "trial.json",
        "environment.json",
        "epochs.jsonl",
        "log.csv",
        "checkpoints",
        "error.txt",
    ]


def test_names_cost_neither_torch_nor_ray():
    names = "trainables.run_folder.layout, trainables.run_folder.epoch_report"
    program = f"import sys, {names}; print({{'torch', 'ray'}} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "set()"


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "content"), [("w", "größer\n"), ("wb", b"\x00\xff\n")])
def test_a_file_is_replaced_when_the_block_ends_well(tmp_path, mode, content):
    path = tmp_path / "new" / "file"
    for _ in range(2):
        with replacing(path, mode) as file:
            file.write(content)
    assert path.read_bytes() == (content if mode == "wb" else content.encode("utf-8"))
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_readers_see_the_old_file_until_then(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_no_trace(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error, match="halfway"), replacing(path) as file:  # noqa: PT012  two managers
        file.write("new")
        raise error("halfway")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"two", b"\xff\xfe", b"1.5"])
def test_a_damaged_number_of_the_attempt_is_one_message(tmp_path, content):
    layout = RunLayout(tmp_path)
    assert layout.read_attempt() == 0
    layout.attempt.write_bytes(content)
    with pytest.raises(RunFileError, match="attempt is damaged; write into it how often the run was started"):
        layout.read_attempt()
