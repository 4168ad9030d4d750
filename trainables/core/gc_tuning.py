"""Imported first in processes that search or train: while modules are imported, garbage is looked for each 50,000 objects, not 700.

Most of what modules make stays, 300,000 objects with torch and Ray Tune, and looking through them again and again takes a fifth
of the time of their imports.
"""

import gc

_USUAL = gc.get_threshold()

gc.set_threshold(50_000)


def imports_are_done() -> None:
    """What there is by now stays, and is not looked through any more; what comes, as networks of ended trials, is, as ever."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
