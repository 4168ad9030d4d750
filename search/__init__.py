"""Launches: one YAML file becomes a Ray Tune run that can be watched, stopped, resumed and exported from.

Folders from the floor up; each imports only what is listed before it:

- `config`: settings of a search file. `tuning`: Optuna proposals, pruning, population-based training.
- `config_file`: a file into a config, or a list of its mistakes.
- `cluster`: Ray and its machines. `run_folder`: lock, status and mirror of a run.
- `progress`: the live display and TensorBoard. `preflight`: what is checked before a search.
- `launch`: running searches and single trainings. `artifacts`: checkpoints, caches, exported models.
- `commands`: the `thaw` command, one file a command; `cli.py` puts them together.

Nothing is imported here: `thaw --help` answers at once.
"""
