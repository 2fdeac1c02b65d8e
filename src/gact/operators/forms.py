"""The form in which a value is coded: what its node reads of it, from what the node holds."""

from __future__ import annotations

from torch.autograd.graph import Node

from ..codecs import forms
from ..codecs.forms import Form

LOGARITHMS = "log_probabilities"
OWN = frozenset({LOGARITHMS, "sine", "cosine"})
"""Forms that give back what one kind of backward reads, and not the values."""


def form_of(name: str, node: Node) -> Form | None:
    """What makes the transform of a region for a form that a need names.

    Args:
        name: The form.
        node: The node that saves the region.
    """
    if name == "normalised":
        return forms.normalised_by(node)
    if name == LOGARITHMS:
        dim: int = node._saved_dim  # type: ignore[attr-defined]
        return forms.log_probabilities(dim if dim < 1 << 63 else dim - (1 << 64))  # -1 is given without a sign
    return {"sine": forms.sine, "cosine": forms.cosine}[name]
