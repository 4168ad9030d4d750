"""Networks as blocks in a row, from input to head.

`build_model` (build_model.py) makes the network of a recipe: a `Backbone` of some family (`backbones/`) with pretrained weights
(`pretrained_weights.py`) and a new head (`staged_model.py`). `compilation.py`, `precision.py` and `small_map_convolutions.py` say
how it computes. A user's own function returns a `Backbone`, too.
"""

from trainables.models.backbone import Backbone

__all__ = ["Backbone"]
