"""Backbones by family: torchvision's (`torchvision_networks.py`), our own (`efficientnet_lite0.py`, `medicalnet.py`), timm's
(`timm_backbones.py`, whose blocks `timm_blocks.py` finds by tracing) and users' own (`custom_backbones.py`). Every family makes
a `Backbone`; `FAMILIES` in `recipe/backbone_catalog.py` declares them. `block_parts.py` finds where a stage may cut a block.
`torchvision_import.py` is the one file that imports torchvision.
"""
