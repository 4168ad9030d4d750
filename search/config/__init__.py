"""Settings of a search file, one file a section; `SearchConfig` (search_config.py) is a search without mistakes. `yaml_source.py`
reads YAML with the line of every key, so that a mistake is reported at its place.
"""
