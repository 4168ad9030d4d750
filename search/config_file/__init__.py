"""From a file to a `SearchConfig`: `load_search` (load.py) reports all mistakes at once; `check_space.py` and `check_proposals.py`
try what the space and the sampler can ask for; `template.py` writes the file that `thaw init` proposes.
"""
