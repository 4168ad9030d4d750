"""Checks before a search is paid for: data and weights (`data_and_weights.py`), this machine (`local_machine.py`), a few
batches of each stage and the time of the whole (`check.py`, `forecast.py`), shown by `check_report.py`.
"""
