"""The frozen prefix: features of the blocks that do not train, computed once and shared by all trials (`feature_cache.py`, in
files of `feature_file.py`); `frozen_prefix.py` decides for each stage whether that saves time.
"""
