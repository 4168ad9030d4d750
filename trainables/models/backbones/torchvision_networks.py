"""torchvision's networks: of images, trained on ImageNet, and of videos, trained on Kinetics, which take volumes."""

from __future__ import annotations

from http.client import HTTPException

from trainables.models.backbone import IMAGENET_MEAN, IMAGENET_STD
from trainables.models.backbones.torchvision_import import models
from trainables.models.pretrained_weights import Pretrained, described
from trainables.models.published_networks import PublishedNetworks
from trainables.models.weight_files import weights_error
from trainables.recipe.model_config import ModelConfig

KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


def _published(config: ModelConfig) -> Pretrained:
    """Loads torchvision's weights by name; downloads them if they are not in the cache."""
    choices = models.get_model_weights(config.backbone)
    names = [name for name in choices.__members__ if name != "DEFAULT"]
    name = "DEFAULT" if config.weights == "default" else config.weights
    if name not in choices.__members__:
        raise weights_error(
            f"{name!r} is not among the weights of {config.backbone} ({', '.join(['default', 'none', *names])}, or a file)"
        )
    weights = choices[name]
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: the checksum of the download is wrong
        message = f"{weights} cannot be downloaded ({error}); give a weight file, or efficientnet_lite0, which needs no download"
        raise weights_error(message) from None
    transforms = weights.transforms()
    return described(dict(state), (tuple(transforms.mean), tuple(transforms.std)))


OF_IMAGES = PublishedNetworks(
    new_network=models.get_model, published=_published, statistics=lambda _: (IMAGENET_MEAN, IMAGENET_STD)
)
OF_VOLUMES = PublishedNetworks(
    new_network=models.get_model, published=_published, statistics=lambda _: (KINETICS_MEAN, KINETICS_STD)
)
