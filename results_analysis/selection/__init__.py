"""Choices: the best trial by a rule (`best_trial.py`), verdicts of seed comparisons (`seed_comparison.py`), and two configs side by
side (`compare_configs.py`).
"""
