"""Images, labels and batches.

`open_dataset` (dataset.py) turns a data config into a `Dataset`: the source lists its labelled images (sources.py, with
folders.py, table.py, npz.py, idx.py and torchvision_sets.py for each kind of source, places.py for paths and URLs;
images.py and dicom.py for image files; labels.py makes classes of labels, numbers.py targets of regression), splits.py,
groups.py and number_splits.py choose who trains and who judges, and store.py decodes everything once into memory-mapped
arrays that all processes on the node share; cache.py keeps them within a limit, left_out.py drops what cannot be read.
From there on a batch is a gather by position (batches.py), mixed with others where that is asked for (mixing.py), on the
GPU where the images fit there (resident.py), its randomness drawn from seeds by purpose (seeding.py). Nothing is imported
here, so that the parts without torch stay without it.
"""
