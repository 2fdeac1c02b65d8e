"""What ops read that overwrite a view, whose nodes nobody can see.

NOTE: Views
Where an op overwrites a view (ReLU the output of a linear layer of more than two dimensions), autograd hides its node
inside of another one, ``CopySlices``. Then the function of torch that ran is all that tells. These are functions, not
names, and only those that save for one node and in one way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .need import SIGN, VALUE, Need

OVERWRITING: dict[Callable[..., Any], Need] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu_, Tensor.relu_), SIGN),
    **dict.fromkeys((torch.sigmoid_, Tensor.sigmoid_, torch.tanh_, Tensor.tanh_, torch.exp_, Tensor.exp_), VALUE),
    **dict.fromkeys((F.silu, F.mish, F.dropout, torch.dropout_, Tensor.mul_, Tensor.__imul__), VALUE),
}
"""Needs of all that such a call saves."""

_HIDING = "CopySlices"


def hides_its_node(result: Any) -> bool:
    """Whether an op has overwritten a view and returned it."""
    base = result._base if isinstance(result, Tensor) else None
    return base is not None and base.grad_fn is not None and base.grad_fn.name().endswith(_HIDING)
