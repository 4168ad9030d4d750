"""Trials as Ray shows them to schedulers and callbacks."""

from types import SimpleNamespace

from trainables.run_folder.protocol import TrialAssignment


def ray_trial(number, *, run="run", parent=None):
    assignment = TrialAssignment(run=str(run), number=number, attempt=1, recipe="{}", trials=1, parent=parent)
    return SimpleNamespace(trial_id=f"ray-{number}", config=assignment.to_config())
