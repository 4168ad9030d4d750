"""Decoded images: resized once (`resize.py`) into a memory-mapped array that all processes of a machine share
(`decoded_images.py`, `build_stores.py`), or decoded whenever they are read where the cache has no room (`streamed_images.py`).
"""
