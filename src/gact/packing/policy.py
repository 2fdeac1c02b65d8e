"""Which code a saved tensor gets: what its kind allows, what its consumer needs, which width is left to choose."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ..codecs.groups import DTYPES as FLOATS
from ..codecs.groups import Groups
from ..codecs.integers import DTYPES as INTEGERS
from ..operators.forms import BENT, LOGARITHMS, MIDDLES
from ..operators.need import VALUE, Need, exact
from ..operators.steep import is_logarithm
from ..operators.table import need_of
from ..records import Site
from ..saved.origins import NARROW
from ..saved.parameters import PLAIN
from .decays import is_decay
from .lossless import lossless
from .masked import is_of_fills
from .rules import Rule

_DTYPES = FLOATS | INTEGERS | {torch.bool}
# Data that no op made feeds the first layer, whose weight gradient has nothing but it, and often had 8 bits from the
# start (pixels): at 4 bits the images alone made three quarters of ResNet-50's gradient noise.
_DATA_BITS = 8
_LOGARITHM = exact("a factor that is a logarithm")
_OF_FILLS = exact("of masked values that are multiplied")
_DECAY = exact("exponentials that others undo")


class Widths(Protocol):
    """Who chooses the width of every site."""

    def width(self, site: Site, needed: Need) -> int:
        """Width of a site's codes."""
        ...

    def saw(self, site: Site, numel: int, code: Groups) -> None:
        """Notes the code that a site was given in an ordinary step."""
        ...


def refusal(tensor: Tensor) -> str:
    """Why the kind of this tensor cannot be compressed: its class, layout, device or dtype; "" if it can."""
    dtype = tensor.dtype
    if type(tensor) in PLAIN and tensor.layout is torch.strided and dtype in _DTYPES and not tensor.is_nested:
        return "meta device" if tensor.is_meta else ""
    if type(tensor) not in PLAIN:
        return f"subclass {type(tensor).__name__}"
    if tensor.layout is not torch.strided:
        return str(tensor.layout).removeprefix("torch.")
    if tensor.is_nested:
        return "nested"
    return "complex" if dtype.is_complex else str(dtype).removeprefix("torch.")


def need(node: Node, slot: str, region: Tensor, is_data: bool) -> Need:
    """What must survive of a saved tensor, given its dtype and its consumer.

    Args:
        node: The node that saves it.
        slot: The slot of the node that holds it.
        region: Its region, of a kind that ``refusal`` lets pass.
        is_data: Whether no op made it.
    """
    needed = lossless(region, is_data) or need_of(node, slot, region)
    if needed.kind == "value" and is_logarithm(node, slot):
        return _LOGARITHM
    if needed.kind == "value" and is_decay(node, slot, region):
        return _DECAY
    if needed.kind == "value" and needed.form != LOGARITHMS and is_of_fills(node, needed):
        return _OF_FILLS
    is_plain = needed.kind == "value" and needed.prior_bits == 1 and (not needed.form or needed.form in BENT)
    return _of_data(needed) if is_data and is_plain else needed


@lru_cache(maxsize=64)
def _of_data(needed: Need) -> Need:
    """A need of what no op made."""
    return replace(needed, prior_bits=_DATA_BITS)


def least_bits(needed: Need) -> int:
    """Width of the narrowest codes from which something may be rebuilt for a need.

    A slope that is a square of what is saved is no linear function of narrow codes; of wide ones it is as exact as the
    argument, however near to its bounds it lies.

    Args:
        needed: What must survive.
    """
    return max(needed.min_bits, NARROW + 1) if needed.form in MIDDLES else needed.min_bits


def ruled(needed: Need, rule: Rule) -> Need:
    """A need within the widths that the user's rule allows; masks and integers stay what they are."""
    if needed.kind == "unknown" and (rule.bits or rule.min_bits or rule.max_bits):
        needed = VALUE
    if needed.kind != "value":
        return needed
    least, most = rule.bits or rule.min_bits or 1, rule.bits or rule.max_bits or 8
    return replace(needed, min_bits=min(max(least, needed.min_bits), most), max_bits=most)
