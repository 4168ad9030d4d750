"""Proposals and pruning. `StudySearcher` (study_searcher.py) is Ray Tune's searcher on an Optuna study (study.py, stored by
study_storage.py) with a sampler of `samplers.py`; `schedulers.py` prunes at rungs; `population.py` and `pbt_children.py` are
population-based training; `enqueued_trials.py` and `warm_start.py` begin with what is already known.
"""
