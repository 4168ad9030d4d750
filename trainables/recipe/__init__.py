"""The recipe: everything that determines a training run, as frozen configs. `parse_recipe` (recipe.py) turns plain data into a
`Recipe` or lists all mistakes in it.

One file for each section: `data_config.py`, `model_config.py`, `train_config.py`, `stage_config.py`, `loss_config.py`,
`augment_config.py`, `scheduled_changes.py`; parts of `data` are in `data_settings/`. `source_catalog.py`,
`torchvision_catalog.py` and `backbone_catalog.py` list what can be named. `rules/` says how sections depend on each other.
Neither torch nor Ray is imported here.
"""
