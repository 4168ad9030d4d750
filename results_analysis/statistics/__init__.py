"""Uncertainty of numbers: intervals of a score (`score_interval.py`, `bootstrap.py`), differences over seeds (`paired_seeds.py`),
and the importance of searched values.
"""
