"""Batches: order and gathering (`batches.py`), augmentation (`augment.py`), MixUp and CutMix (`mixing.py`), images that stay on the
GPU (`gpu_resident.py`), and streamed images that are decoded ahead (`read_ahead.py`). `ImageLoader` (image_loader.py) loads images
as the network sees them. Everything random is drawn from seeds by purpose and epoch.
"""
