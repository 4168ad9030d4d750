"""Images, labels and batches.

`open_dataset` (dataset.py) turns a data config into a `Dataset`: the source lists its labelled images (sources.py, with
images.py for image files, table.py for tables and idx.py for the MNIST family; labels.py makes classes of labels,
numbers.py reads targets), splits.py, groups.py and number_splits.py choose who trains and who judges, and store.py
decodes everything once into a memory-mapped array that all processes on the node share. From there on a batch is a
gather by position (batches.py), its randomness drawn from seeds by purpose (seeding.py). Nothing is imported here, so that
the parts without torch stay without it.
"""
