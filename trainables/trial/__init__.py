"""A training run in its folder: `TrainingRun` (training_run.py) trains, writes reports and checkpoints, and continues from what it
finds there. `tune_trainable.py` hands it to Ray Tune and is the only file of the room that imports Ray;
`start_from_parent.py` begins where another run was; `dry_run.py` measures stages on a few batches before a search.
"""
