"""The form in which a value is coded: what its node reads of it, from what the node holds."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.nodes import signed
from ..codecs import forms
from ..codecs.bent import SCALES, Bent
from ..codecs.clamped import Clamped
from ..codecs.forms import Form
from ..codecs.transforms import Transform
from .bounds import between

LOGARITHMS = "log_probabilities"
SLOPES = frozenset({"cosine", "sine", "tanh", "sigmoid"})
MIDDLES = {"tanh": 0.0, "sigmoid": 0.5}
"""Of functions whose slope is a square less its distance from a number, that number."""
ATTENTION = "attention"
"""What a fused attention gives, which is made again of its arguments and not coded."""
CLAMPED = frozenset({"hardswish", "prelu"})
OWN = frozenset({LOGARITHMS}) | SLOPES | CLAMPED
"""Forms that give back what one kind of backward reads, and not the values."""
BENT = frozenset(SCALES)
"""Forms from which the value of one function is right on average, and its slope, but not the values."""


def kind_of(name: str, transform: Transform | None) -> str:
    """The form in which a region is held for a need that names one, given the transform that was made; "" for none."""
    if transform is None or (name in BENT and not isinstance(transform, Bent)):
        return ""
    return name


def form_of(name: str, node: Node) -> Form | None:
    """What makes the transform of a region for a form that a need names.

    Args:
        name: The form.
        node: The node that saves the region.
    """
    if name == "normalised":
        return forms.normalised_by(node)
    if name in (LOGARITHMS, "probabilities"):
        dim = getattr(node, "_saved_dim", None)
        if dim is None:
            return None
        make = forms.log_probabilities if name == LOGARITHMS else forms.probabilities
        return make(signed(dim))
    if name in BENT:
        return forms.Bending(name)
    if name in CLAMPED:
        return partial(_clamped, name)
    return forms.slope(name)


def _clamped(name: str, region: Tensor, group_size: int) -> Clamped | None:
    bounds = between(name, region)
    return None if bounds is None else Clamped(region, bounds)
