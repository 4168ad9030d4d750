"""Rules of a recipe that no single section can know. `task_rules.py` says what classification and regression each allow,
`prefix_rules.py` when features of frozen blocks can be cached, `unused_settings.py` which settings can have no effect.
"""
