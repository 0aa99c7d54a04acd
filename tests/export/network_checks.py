"""Networks filled with given parameters, and run."""

import numpy as np
import paddle

from sa.benchmarks.fixtures.recipe import tensor
from sa.export.engines.roles import slots


def fill(network, value):
    """Give every parameter value(name, shape as PyTorch stores it)."""
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
