"""Published networks as their libraries make them."""

from trainables.models.published_networks import published_networks_of


def new_network(backbone):
    """The published architecture, with the weights its constructor draws."""
    return published_networks_of(backbone).new_network(backbone)


def last_layer(backbone, network):
    """Name of the layer that gives the class scores."""
    return published_networks_of(backbone).last_layer(network)
