"""Progress of a search: what is known about its trials (`search_state.py`), kept up by Ray's events (`ray_callback.py`) or from the
folder (`folder_watcher.py`, for `thaw watch`), drawn by `render.py`, and written as TensorBoard events
(`tensorboard_callback.py`, `tensorboard_events.py`).
"""
