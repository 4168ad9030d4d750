"""`thaw schema`: prints the JSON Schema of a search file."""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON Schema of search files, for editors.

    Example: thaw schema > thaw.schema.json
    """
    import json

    from search.config.search_config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
