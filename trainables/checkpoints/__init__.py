"""Checkpoints: one file (`checkpoint_file.py`), the folder of a run's files (`checkpoint_folder.py`), which of them are written and
stay (`policy.py`), a run's saving and resuming (`run_checkpoints.py`), how weights move over time (`weight_changes.py`) and
copies elsewhere (`backup.py`).
"""
