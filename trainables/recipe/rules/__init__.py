"""Rules of a recipe that no single section can know. `across_sections.py` says which sections do not fit together, `task_rules.py`
what classification and regression each allow, `prefix_rules.py` when features of frozen blocks can be cached, `unused_settings.py`
which settings can have no effect, by the rules of `unused_stage_settings.py` and `unused_train_settings.py`.
"""
