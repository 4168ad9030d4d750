"""Files of a run, as plain data: names of files (`layout.py`), one report an epoch (`epoch_report.py`), the record of a
search's trial (`trial_record.py`) with its summary (`trial_summary.py`), the registry of checkpoints (`checkpoint_registry.py`),
versions and hardware (`environment.py`), failures (`trial_failures.py`), the log (`trial_log.py`) and the progress of a cache
that is being built (`cache_progress.py`). Read by `results_analysis`: neither torch nor Ray is imported here.
"""
