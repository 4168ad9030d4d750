"""Reports on the checkpoints of a run: a page (HTML), or a text with a picture (Markdown)."""
