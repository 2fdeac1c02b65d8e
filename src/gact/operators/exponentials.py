"""Exponentials that backward takes away from each other: of a logarithm of probabilities, of what plans are made of.

NOTE: Weights that were normalised in the exponent
``exp(log_softmax(x))``, ``exp(x - logsumexp(x))`` and the plan of a transport are weights that add to a constant. What
they multiply reaches x twice, through the exponential and, with the opposite sign, through the sum of exponentials:
what is common to all (an offset of rewards, of costs) cancels. The sum is exact, so the exponential is exact as well:
beside its rounding, times the offset, nothing would be left of the gradient.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor
from torch.autograd.graph import Node

from .losses import LOGARITHM, WEIGHED
from .magnitudes import of_one_magnitude
from .need import Need, exact

_NAMES = """
    Add Alias Clone Div Expand MaskedFill Mul Neg Permute ReshapeAlias Rsub Slice Squeeze Sub T ToCopy Transpose
    UnsafeView Unsqueeze View Where
"""
_LINEAR = frozenset(f"{name}Backward{number}" for name in _NAMES.split() for number in range(5))
"""What is neither a function further back nor takes one number of a row."""
_SUMS = frozenset({"LogaddexpBackward0", "LogcumsumexpBackward0", "LogsumexpBackward0"})
_WRITTEN_OUT = "LogBackward0"
_BEFORE_IT = _LINEAR | {"ClampMinBackward0", "SumBackward0", "SumBackward1"}
_EXPONENTIALS = frozenset({"Exp2Backward0", "ExpBackward0"})
_MOST = 32
_WHY = exact("normalised by a sum of exponentials")


def exponential(node: Node, tensor: Tensor) -> Need:
    """The result of an exponential; exact if a sum of exponentials is part of its argument."""
    found = False
    for earlier in _behind(node, _LINEAR):
        name = earlier.name()
        if name == LOGARITHM:
            cast(dict[str, bool], earlier.metadata)[WEIGHED] = found = True
        elif name in _SUMS or (name == _WRITTEN_OUT and _is_of_exponentials(earlier)):
            found = True
    return _WHY if found else of_one_magnitude(node, tensor)


def _is_of_exponentials(node: Node) -> bool:
    """Whether a logarithm is one of a sum of exponentials."""
    behind = _behind(node, _BEFORE_IT)
    names = {each.name() for each in behind}
    return not names.isdisjoint(_EXPONENTIALS)


def _behind(node: Node, through: frozenset[str]) -> list[Node]:
    """The first nodes behind one that are not among those that are looked through."""
    coming, found, seen = [node], list[Node](), set[Node]()
    while coming and len(seen) < _MOST:
        for earlier, _ in coming.pop().next_functions:
            if earlier is None or earlier in seen:
                continue
            seen.add(earlier)
            (coming if earlier.name() in through else found).append(earlier)
    return found
