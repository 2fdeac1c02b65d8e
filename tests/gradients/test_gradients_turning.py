"""Functions that turn within a few units, of arguments that lie much farther apart."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds
from torch import nn

KINDS = Kinds()
FUNCTIONS = [torch.erf, torch.erfc, torch.atan, torch.asinh, F.elu, F.celu, F.softplus]


@KINDS.of(*((function, size) for function in FUNCTIONS for size in (100.0, -1000.0)))
def beside_outliers(function, size):
    """What is read is the slope of the others."""
    layers, x = nn.ModuleList(nn.Linear(64, 64) for _ in range(2)), torch.randn(512, 64)
    far, weights = torch.rand(512, 64) < 0.01, torch.randn(512, 64)
    return layers, lambda: (layers[1](function(layers[0](x) + size * far) * ~far) * weights).mean()


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    KINDS.check(name)
