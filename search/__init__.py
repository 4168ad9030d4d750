"""Launches: one YAML file becomes a Ray Tune run that can be watched, stopped, resumed and exported from.

`load.py` turns the file (`source.py` knows its lines) into a `SearchConfig` (config.py) or says all that is wrong with it;
`space_check.py` tries the space's points on the recipe, `preflight.py` looks at data and weights. `launch.py` runs the search,
with proposals from `searcher.py` (Optuna's ask and tell), pruning from `schedulers.py`, and callbacks that show progress and
write TensorBoard events. `cluster.py` connects to Ray, on this machine or on a cluster, whose nodes `node_check.py` asks before
the first trial; `budget.py` knows when a search has had enough. `train.py` trains one recipe without Ray, or through
`processes.py` in several processes of Ray Train; `comparison.py` is a search over seeds in place of a space (`confirm.py`,
`ablation.py`). `cli.py` is the `thaw` command, with one file a command in `commands/`. Nothing is imported here: `thaw --help`
answers at once.
"""
