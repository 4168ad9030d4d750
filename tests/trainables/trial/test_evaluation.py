"""The test is taken by the weights of the best epoch, as they were judged."""

import copy
import json
from dataclasses import replace

import pytest

from trainables.checkpoints.checkpoint_folder import CheckpointError
from trainables.data.dataset import open_dataset
from trainables.run_folder.layout import TrialLayout
from trainables.training.trainer import Trainer
from trainables.trial.training_run import TrainingRun

SETTINGS = [
    {},
    {"ema": {"decay": 0.8}},
    {"ema": {"decay": 0.8, "judge": "raw"}},
    {"loss": {"kind": "ldam"}, "drw": {"start_epoch": 2}},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_was_validated_is_evaluated_to_the_same_bit(make_recipe, settings):
    recipe = make_recipe(**settings)
    dataset = open_dataset(recipe.data)
    trained = Trainer(recipe, dataset)
    for report in trained:
        trainer = Trainer(recipe, dataset)
        trainer.load_state_dict(trained.state_dict())
        found = trainer.evaluate(dataset, reweighted=report.reweighted)
        assert dict(found.metrics) == dict(report.metrics)
        assert found.confusion == report.confusion


def test_a_trainer_that_has_opened_more_goes_back_to_any_epoch(make_recipe):
    recipe = make_recipe(prefix_cache=False)
    trainer = Trainer(recipe, open_dataset(recipe.data))
    epochs = [(report, copy.deepcopy(trainer.state_dict())) for report in trainer]
    assert epochs[0][0].open_from != epochs[-1][0].open_from
    for report, state in reversed(epochs):
        trainer.load_state_dict(state)
        found = trainer.evaluate(trainer.dataset, reweighted=False)
        assert dict(found.metrics) == dict(report.metrics)


def test_the_best_epoch_takes_the_test(make_recipe, tmp_path):
    recipe = make_recipe(data={"test": 0.2})
    folder = TrialLayout(tmp_path / "0000")
    run = TrainingRun(recipe, folder)
    list(run)
    run.test()
    found = json.loads(folder.test.read_text())
    dataset = open_dataset(recipe.data)
    assert found["images"] == len(dataset.test)
    assert sum(map(sum, found["confusion"])) == len(dataset.test)

    # Were validation images the test, it would be the best epoch's report again.
    run.trainer.dataset = replace(dataset, test=dataset.validation)
    run.test()
    metrics, best = json.loads(folder.test.read_text())["metrics"], run.reports[-1]["best_epoch"]
    assert metrics["balanced_accuracy"] == run.reports[best - 1]["balanced_accuracy"]
    assert metrics["val_loss"] == run.reports[best - 1]["val_loss"]


def test_data_without_a_test_have_none_to_take(make_recipe, tmp_path):
    folder = TrialLayout(tmp_path / "0000")
    run = TrainingRun(make_recipe(), folder)
    list(run)
    run.test()
    assert not folder.test.exists()


def test_a_best_epoch_that_is_gone_is_said(make_recipe, tmp_path):
    folder = TrialLayout(tmp_path / "0000")
    run = TrainingRun(make_recipe(data={"test": 0.2}), folder)
    list(run)
    for path in folder.checkpoints.glob(f"{run.reports[-1]['best_epoch']:04d}_*"):
        path.unlink()
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        run.test()
