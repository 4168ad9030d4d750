"""Networks as blocks in a row, from input to head.

`build_model` (build_model.py) makes the network of a recipe: a `Backbone` of some family with pretrained weights and a new head
(`staged_model.py`). `networks.py` says what a family must offer; `published_networks.py` does it for those that were published as
a whole, with weights of their own or of a file (`pretrained_weights.py`); `backbones/` has the families. `compilation.py`,
`precision.py` and `small_map_convolutions.py` say how it computes. A user's own function returns a `Backbone`, too.
"""

from trainables.models.backbone import Backbone

__all__ = ["Backbone"]
