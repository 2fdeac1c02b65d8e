"""Whether a tensor that is made again of rounded ones has far more rounding than a code of its own would."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..autograd.internals import is_at_hand
from ..codecs.chunks import flat_of
from ..codecs.deviations import VARIANCE
from ..codecs.groups import Groups
from ..codecs.layout import Layout
from ..codecs.transforms import Transform
from ..saved.base import Held

_MOST = 16.0
"""Times the variance of a code of its own: two bits."""
_RUN, _MOST_OF_RUN = 64, 64.0
"""Times that of so many elements, where some may have far more than others: what follows may divide by their sum."""
_HARMLESS = 1e-4
"""So small a part of their squares is nothing to them."""


def is_drowned(
    held: Held,
    region: Tensor,
    bits: int,
    group_size: int,
    transform: Transform | None,
    own: Callable[[int], Groups] | None = None,
) -> bool:
    """Whether what gives a region's values has that much more noise than codes would, looked at on a CPU.

    Args:
        held: What gives the values.
        region: A dense region.
        bits: The width of the codes.
        group_size: Elements of a group.
        transform: What its node calls for: under it no group of the region may be noisier.
        own: Makes codes of some width, if a few rows may have far more of it than the others: then none may.
    """
    if not is_at_hand(region):
        return False
    exact = flat_of(region.detach())
    made = flat_of(held.decode(Layout(region.size(), region.stride(), region.size())))
    if own is not None and transform is None and _is_uneven(made, own(bits), region):
        return True
    if transform is None:
        exact, made = exact.float(), made.float()
    else:
        exact, made = (_under(transform, each) for each in (exact, made))
    error = _grouped(made.sub_(exact) if made.dtype is exact.dtype else made - exact, group_size).square().mean(1)
    exact = _grouped(exact, group_size)
    ranges = exact.amax(1) - exact.amin(1)
    expected = float(ranges.square().mean()) * VARIANCE / ((1 << bits) - 1) ** 2
    worst = error.mean() if transform is None else error.amax()
    return not float(worst) <= _MOST * expected


def _is_uneven(made: Tensor, own: Groups, region: Tensor) -> bool:
    """Whether some run of elements has far more noise than codes give it, which have scales for rows."""
    exact = flat_of(region.detach()).float()
    coded = flat_of(own.decode(region.size(), region.stride()))
    noise, least = (_grouped(each.float() - exact, _RUN).square().sum(1) for each in (made, coded))
    most = least.mul_(_MOST_OF_RUN).add_(_grouped(exact, _RUN).square().sum(1), alpha=_HARMLESS)
    return not bool((noise <= most).all())


def _under(transform: Transform, flat: Tensor) -> Tensor:
    out = torch.empty_like(flat, dtype=transform.values(flat.dtype))
    transform.forward(flat)(0, out)
    return out


def _grouped(flat: Tensor, group_size: int) -> Tensor:
    """The whole groups, or all elements where there is none."""
    whole = flat.numel() // group_size
    return flat[: whole * group_size].view(whole, group_size) if whole else flat[None]
