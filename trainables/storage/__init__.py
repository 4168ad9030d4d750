"""Places for files: the cache folder of this machine (`cache_folder.py`), URLs (`urls.py`, read; `remote_folder.py`, written)
and the config type of a destination (`destination.py`).
"""
