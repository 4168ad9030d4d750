"""Imported first by what runs in a process of its own: it looks for garbage each 50,000 objects, not each 700.

Python's modules leave half a million objects, none of them garbage, and looking through them again and again while they are
imported takes a fifth of the time until a search trains.
"""

import gc

gc.set_threshold(50_000)
