"""Detectors of data, one file for each kind. `SOURCES` in `recipe/source_catalog.py` names them."""
