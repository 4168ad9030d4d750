"""Ray and its machines: connecting (`ray_connection.py`), whether an address answers (`check_reachable.py`), the code that travels
to nodes (`runtime_env.py`), what each node lacks (`node_check.py`), what a trial takes (`trial_resources.py`) and what there is
(`capacity.py`). `templates/` holds the files of `thaw clusters`. Importable before Ray is.
"""
