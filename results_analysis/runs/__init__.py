"""Runs on disk: `load` (run.py) opens a search's folder as a `Run`, `load_all` several; `training_run.py` opens a single training
run. Both offer frames of trials and epochs (`frames.py`), whose column names `columns.py` owns.
"""
