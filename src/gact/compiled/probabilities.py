"""Exponentials of what log-softmax gave: the probabilities that its backward reads.

They are held as other code holds them: in the form of probabilities, which keeps the greatest of sharp rows aside, or
exactly where something else than a label weighs them (``operators/losses.py`` tells why).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from torch import fx

from ..operators.aten import name_of
from ..operators.losses import LOG_PROBABILITIES
from ..operators.need import Need
from .bends import SHAPED
from .joint import Joint
from .readings import Reading
from .values import can_be_coded, tensor_of

LOGARITHM = "_log_softmax"
WEIGHED = "weighed by probabilities"
_ITSELF = frozenset({"alias", "convert_element_type", "detach"})
_LABELS = frozenset({"gather", "nll_loss_forward", "nll_loss2d_forward"})
"""Ops that take one log-probability of a row each."""


def taken_out(wanted: dict[fx.Node, Need], joint: Joint) -> Iterator[tuple[fx.Node, Need | None]]:
    """Takes such exponentials out of what is wanted; what is held in their place, and its need: None if it is exact.

    With log-probabilities that are weighed goes all that has their shape: the weights are as exact as they are.

    Args:
        wanted: Values that backward reads.
        joint: The forward graph and what backward reads.
    """
    weighed = []
    for node in list(wanted):
        logarithm = _logarithm_of(node)
        if logarithm is None:
            continue
        exact = _is_weighed(logarithm, joint.results, joint.readings) or not can_be_coded(logarithm)
        if exact or name_of(logarithm.target) == LOGARITHM:  # written out, its exponential is at hand
            del wanted[node]
            weighed.extend([logarithm] if exact else [])
            form = f"{LOGARITHM} {_dimension_of(logarithm)}"
            yield logarithm, None if exact else replace(LOG_PROBABILITIES, form=form)
    for node in [each for each in wanted if any(_are_alike(each, other) for other in weighed)]:
        del wanted[node]
        yield node, None


def _are_alike(one: fx.Node, other: fx.Node) -> bool:
    """Whether two nodes have tensors of one shape."""
    first, second = tensor_of(one), tensor_of(other)
    return first is not None and second is not None and first.shape == second.shape


def _logarithm_of(node: fx.Node) -> fx.Node | None:
    """The result of log-softmax of which a node is the exponential; None if it is none."""
    if name_of(node.target) != "exp":
        return None
    before = node.args[0]
    while isinstance(before, fx.Node) and name_of(before.target) in _ITSELF:
        before = before.args[0]
    return before if isinstance(before, fx.Node) and _dimension_of(before) is not None else None


def _dimension_of(node: fx.Node) -> int | None:
    """The dimension over which a node is a log-softmax, fused or written out; None if it is none."""
    if name_of(node.target) == LOGARITHM:
        return node.args[1]  # type: ignore[return-value]
    shifted, logarithm = _arguments(node, "sub", 2) or (None, None)
    (total,) = _arguments(logarithm, "log", 1) or (None,)
    exponential, dims = _arguments(total, "sum", 2) or (None, None)
    if _arguments(exponential, "exp", 1) != (shifted,) or not isinstance(dims, (list, tuple)) or len(dims) != 1:
        return None
    _, greatest = _arguments(shifted, "sub", 2) or (None, None)
    return dims[0] if _arguments(greatest, "amax", 1) else None


def _arguments(node: Any, name: str, count: int) -> tuple[Any, ...] | None:
    """The first arguments of a node of an operator; None for any other."""
    return node.args[:count] if isinstance(node, fx.Node) and name_of(node.target) == name else None


def _is_weighed(node: fx.Node, results: Iterable[fx.Node], readings: Iterable[Reading]) -> bool:
    """Whether something else than a label weighs what log-softmax gave, or nobody knows what does."""
    same, waiting = {node}, [node]
    while waiting:
        for user in waiting.pop().users:
            name = name_of(user.target)
            if name in _ITSELF:
                same.add(user)
                waiting.append(user)
            elif user.op != "output" and name != "exp" and name not in _LABELS | SHAPED:
                return True
    return not same.isdisjoint(results) or any(reading.node in same for reading in readings)
