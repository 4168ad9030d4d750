"""One training run: recipe, data, model, stages, loss, training loop, checkpoints.

Folders from the floor up; each imports only what is listed before it:

- `core`: names, config errors, dotted paths, seeds.
- `storage`: the cache folder, URLs.
- `recipe`: all that determines a run. `run_folder`: all that it leaves on disk.
- `models`: networks as blocks in a row.
- `data`: formats, sources, splits, decoded images, batches.
- `frozen_prefix`: features of frozen blocks, shared by trials. `tasks`: losses and metrics.
- `training`: the loop. `checkpoints`: its state on disk.
- `trial`: a run in its folder, and Ray Tune's trainable. `model_package`: a trained network for others.

Nothing is imported here, so that reading a recipe costs no torch.
"""
