"""Networks as blocks in a row: which there are (catalog.py), their weights (weights.py), and how one becomes a model with a new
head (backbones.py, staged.py).

Whatever a network comes from, torchvision (vision.py), timm (timm_models.py), this folder (lite0.py, volumes.py) or the user
(custom.py), it is a `Backbone` first. That is also what a user's own function returns.
"""

from trainables.models.backbone import Backbone

__all__ = ["Backbone"]
