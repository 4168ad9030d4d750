"""Images, labels and batches.

`open_dataset` (dataset.py) turns a data config into a `Dataset`: `sources/` lists the labelled images, read by `formats/`;
`splits/` says which train and which validate; `store/` decodes each image once into memory-mapped arrays that all processes of
the machine share. From there a batch is a gather by position (`batches/`). `stage_view.py` is what one stage sees of it;
`overview.py` and `contact_sheet.py` show it to people. Nothing is imported here, so that what needs no torch stays without.
"""
