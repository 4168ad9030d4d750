"""History of a run as plain values. `run_history.py` holds what the run has reached, `warning_flags.py` warns, `report_epoch.py`
writes the report of an epoch, `stage_words.py` says in words how its stage goes, `compute_cost.py` counts what training costs.
None of it changes weights.
"""
