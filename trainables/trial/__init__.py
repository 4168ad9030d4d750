"""A training run in its folder: `TrainingRun` (training_run.py) trains, writes reports and checkpoints, and continues from what it
finds there. `tune_trainable.py` hands it to Ray Tune, and `trial_processes.py` connects the processes of a trial that has several:
no other file of the room imports Ray. `start_from_parent.py` begins where another run was; `dry_run.py` measures stages on a few
batches before a search.
"""
