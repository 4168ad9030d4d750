"""Batches: order and gathering (`batches.py`), augmentation (`augment.py`), MixUp and CutMix (`mixing.py`), and images that stay
on the GPU (`gpu_resident.py`). `ImageLoader` (image_loader.py) loads images as the network sees them. Everything random is drawn
from seeds by purpose and epoch.
"""
