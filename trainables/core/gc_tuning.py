"""Makes garbage collection rarer during imports: after every 50,000 new objects instead of 700. To be imported first.

Nearly all objects that modules create stay, 300,000 with torch and Ray Tune, and searching them for garbage over and over takes a
fifth of the import time.
"""

import gc

_DEFAULT = gc.get_threshold()

gc.set_threshold(50_000)


def restore_collection() -> None:
    """Restores the usual garbage collection, and excludes all objects that exist by now from it. Later objects, such as networks of
    ended trials, are collected as usual."""
    gc.freeze()
    gc.set_threshold(*_DEFAULT)
