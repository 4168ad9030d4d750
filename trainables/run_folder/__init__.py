"""Files of a run, as plain data: names of files (`layout.py`), one report an epoch (`epoch_report.py`: its fields
declare all that follows from them), the record of a search's trial (`trial_record.py`) with its summary (`trial_summary.py`, whose
columns `trial_columns.py` computes), the registry of checkpoints (`checkpoint_registry.py`), versions and hardware
(`environment.py`), failures (`trial_failures.py`), the log (`trial_log.py`) and the progress of a cache that is being built
(`cache_progress.py`). `protocol.py` has what a search's driver and its workers exchange. Read by `results_analysis`: neither torch
nor Ray is imported here.
"""
