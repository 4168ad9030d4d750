"""Backbones by family: torchvision's and our own by name (`known_networks.py`, `efficientnet_lite0.py`, `medicalnet.py`), timm's
(`timm_backbones.py`, whose blocks `timm_blocks.py` finds by tracing) and users' own (`custom_backbones.py`). Every family makes
a `Backbone`. `torchvision_import.py` is the one file that imports torchvision.
"""
