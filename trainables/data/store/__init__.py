"""Decoded images: resized once (`resize.py`) into a memory-mapped array that all processes of a machine share
(`decoded_images.py`).
"""
