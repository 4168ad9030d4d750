"""Data sources: which images there are and what their labels say, before a pixel is decoded.

`open_source` opens what a data config names, with a file of `kinds/`: class folders, a table, or the files of `formats/`; all give
a `Source` (`source.py`). Labels become classes (`class_mapping.py`) or numbers (`numeric_labels.py`); `detect_source.py` and
`guess_columns.py` look at data that nobody has described yet, for `thaw init`.
"""
