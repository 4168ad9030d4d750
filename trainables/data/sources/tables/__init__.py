"""Tables of images: the file (`table_file.py`), its columns as codes (`table_cells.py`), its rows checked (`table_rows.py`)."""
