"""Launching: `run_search.py` runs a search, with an end set by `budget.py`; `train_one.py` trains one recipe without Ray Tune, and
`train_in_processes.py` in several processes. `seed_comparison.py` is a search over seeds, for `thaw confirm`
(`confirmation.py`) and `thaw ablate` (`ablation.py`).
"""
