"""One training run: recipe, data, model, stages, loss, training loop, checkpoints.

`Recipe` (recipe.py; its parts in data_config.py and train_config.py) says everything about a run; `Trainer` (trainer.py) turns
it into an iterator of epoch reports; `TrainingRun` (run.py) keeps those reports and checkpoints in a folder and continues from
it; `Replicas` (replicas.py) are the processes that train it together. `StagedUnfreezing` (tune_trainable.py) hands that run to
Ray Tune and is the only file that knows Ray. Nothing is imported here, so that reading a recipe costs no torch.
"""
