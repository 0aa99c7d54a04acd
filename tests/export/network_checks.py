"""Helpers that fill networks with parameters and run them."""

import numpy as np
import paddle

from sa.benchmarks.fixtures.recipe import tensor
from sa.export.engines.roles import slots


def fill(network, value):
    """Set every parameter to value(name, shape in PyTorch's layout)."""
    expected = slots(network)
    for name, parameter in network.named_parameters():
        array = value(name, expected[name].shape)
        parameter.set_value(np.ascontiguousarray(array.T if expected[name].linear else array))
    network.eval()
    return network


def run(network, *inputs):
    with paddle.no_grad():
        return network(*map(paddle.to_tensor, inputs)).numpy()


def by_recipe(network):
    return fill(network, lambda name, shape: tensor(name, shape, "unet").astype(np.float64))
