"""Tables of a single training run, read once: its state, its stages, and the validation images that it gets most wrong."""
