"""Pictures of a single training run: its history and its confusion matrix, as PNG files (drawn with matplotlib, beside the run)
and as figures of the report (drawn with plotly). Both are drawn from the numbers of `history`.
"""
