"""Data sources: which images there are and what their labels say, before a pixel is decoded.

`open_source` opens what a data config names, with a file of `kinds/`: class folders, a table, or the files of `formats/`; all give
a `Source` (`source.py`). Labels become classes (`class_mapping.py`) or numbers (`tables/numeric_labels.py`). What
nobody has described yet is looked at by `trainables/data/detection`.
"""
