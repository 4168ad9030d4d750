"""A search's folder while a driver owns it: the lock (`run_lock.py`), the driver's status (`status_file.py`), and a copy at
a URL (`mirror.py`, `mirrored_files.py`, `fetch_mirror.py`), of which `freshness.py` tells the newer one.
"""
