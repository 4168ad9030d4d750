"""Findings of the report, in words: `conclusions` (conclusions.py) with `warning_signs.py` and `next_steps.py`, each drawn from the
`Evidence` of finding.py and left out where it would be empty.
"""
