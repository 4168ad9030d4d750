"""Tables of trials: `results_table` is sorted and filtered, `terminal_table.py` draws it, `file_formats.py` writes it for others.
`run_snapshot.py` is one consistent reading of a run; `search_ranges.py` says what was searched, on which scale (`scales.py`), and
`short_names.py` how columns are headed.
"""
