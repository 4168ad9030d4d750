"""Kinds of sources: one file opens each, and detects it for `thaw init`. `SOURCES` in `recipe/source_catalog.py` declares them."""
