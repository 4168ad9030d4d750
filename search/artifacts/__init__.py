"""Commands on what runs leave: checkpoints, the image cache, exported models and their predictions."""
