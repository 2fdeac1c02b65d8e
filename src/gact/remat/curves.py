"""Whether a function that a user calls a curve is one: each element of its result comes from those in the same place.

NOTE: How it is seen
What rounding adds on average is computed by moving all elements at once, which is right only if no element of the
result depends on those in other places. So the function is run with half of the elements of an argument replaced by
those of the other half, and what it makes in the other half must be what it made before. Then the halves change places.
This is done for every argument, and only at the first call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..autograd.internals import FakeTensor
from .rules import Making

_SEEN: set[Callable[..., Tensor]] = set()
"""Functions that are curves."""
_ULPS = 8


def checked(func: Callable[..., Any], making: Making, result: Tensor) -> Making:
    """How a result is made; as of a kink, if a user calls that a curve and it cannot be seen whether it is one.

    Args:
        func: The op.
        making: How it makes its result.
        result: The result.

    Raises:
        ValueError: If it is seen that it is none.
    """
    function = making.rebuild.stated
    if function is None or making.rebuild.kind != "curve":
        return making
    sources = [each for each in making.sources if each.is_floating_point() or each.is_complex()]
    if not all(_broadcasts(each, result) for each in sources):
        return _as_kink(making)
    if function in _SEEN:
        return making
    if not _can_look(result) or not _is_curve(func, making, result):
        return _as_kink(making)
    _SEEN.add(function)
    return making


def _as_kink(making: Making) -> Making:
    return replace(making, rebuild=replace(making.rebuild, kind="kink"))


def _broadcasts(source: Tensor, result: Tensor) -> bool:
    try:
        return bool(torch.broadcast_shapes(source.size(), result.size()) == result.size())
    except RuntimeError:
        return False


def _can_look(result: Tensor) -> bool:
    """Whether there are numbers to look at, and nothing records what a device does."""
    if type(result) is FakeTensor or result.is_meta:
        return False
    return not (result.is_cuda and bool(torch.cuda.is_current_stream_capturing()))


@torch.no_grad()
def _is_curve(func: Callable[..., Any], making: Making, result: Tensor) -> bool:
    """True if every element comes from its own place; False if the arguments do not tell.

    Raises:
        ValueError: If some does not.
    """
    name = getattr(func, "__name__", str(func))
    make, sources = making.rebuild.make, making.sources
    before = make(*sources)
    if before.size() != result.size():
        raise ValueError(
            f'register_rebuild({name}, kind="curve"): make returned the size {tuple(before.size())} where the operator '
            f"returned {tuple(result.size())}; it must make the operator's result"
        )
    slack = _ULPS * torch.finfo(result.dtype).eps
    for index, source in enumerate(sources):
        if source.numel() == 1 or not (source.is_floating_point() or source.is_complex()):
            continue
        for mask in _masks(source):
            moved = _moved(source, mask)
            if moved is None:
                return False
            after = make(*sources[:index], moved, *sources[index + 1 :])
            alike = torch.isclose(after, before, rtol=slack, atol=0.0, equal_nan=True)
            if not bool((alike | mask).all()):
                raise ValueError(
                    f'register_rebuild({name}, kind="curve"): elements of its result depend on elements of its '
                    "arguments in other places; a curve is a smooth function of the elements in the same place. "
                    'Register it with kind="other", or "linear" if it is linear in all tensors at once'
                )
    return True


def _moved(source: Tensor, mask: Tensor) -> Tensor | None:
    """A tensor with its elements in some places replaced by others of it; None if that changes nothing."""
    left = source[~mask]
    if not left.numel():
        return None
    places = torch.arange(int(mask.sum()), device=source.device) % left.numel()
    moved = source.clone()
    moved[mask] = left[places]
    return None if torch.equal(moved, source) else moved


def _masks(source: Tensor) -> Iterator[Tensor]:
    """About half of the places of a tensor, at random, and the other half."""
    # A generator of its own: the user's random numbers stay what they were.
    generator = torch.Generator("cpu").manual_seed(0)
    drawn = torch.randint(0, 2, source.size(), generator=generator, dtype=torch.uint8, device="cpu")
    mask = drawn.bool().to(source.device)
    yield mask
    yield ~mask
