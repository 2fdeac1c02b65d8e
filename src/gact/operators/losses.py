"""Softmax and losses.

NOTE: Weights of log-probabilities
What multiplies log-probabilities in a loss (the target of a distillation, of an entropy, of a divergence) is the
gradient that log-softmax gets, from which its backward takes the probabilities away. Near the optimum the two are
almost equal, and their roundings are all that is left. So such a factor stays exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.internals import is_at_hand
from ..autograd.nodes import signed
from ..codecs.sums import Rows, rows_along
from .magnitudes import of_few_columns, of_one_magnitude
from .need import FEW, SHAPE, VALUE, Need, entries, exact, merged

Notes = Mapping[str, Any]

PROBABILITIES = Need("value", form="probabilities")
_FEW = Need("value", prior_bits=8, form="probabilities")
_HALF = 0.5
LOG_PROBABILITIES = Need("value", prior_bits=8, form="log_probabilities")

_WEIGHTS = exact("multiplies log-probabilities")
LOGARITHM = "LogSoftmaxBackward0"
_THROUGH = "Sub Add Neg View UnsafeView T Transpose Permute Expand Gather Select Slice Index Where MaskedFill"
_ON_THE_WAY = frozenset(f"{name}Backward0" for name in _THROUGH.split())
_FARTHEST = 6
_QUOTIENTS = frozenset({"DivBackward0", "ReciprocalBackward0"})
WEIGHED = "gact weighed"


def softmax(node: Node, tensor: Tensor) -> Need:
    """Probabilities; the gradient of few almost cancels, so they have 8 bits until it is known what it suffers."""
    dim = getattr(node, "_saved_dim", None)
    if dim is None or not tensor.dim():
        return PROBABILITIES
    dim = signed(dim)
    return _in_rows(tensor.shape[dim] < FEW, rows_along(tensor, dim) if _add_to_one(node, tensor, dim) else None)


def _add_to_one(node: Node, tensor: Tensor, dim: int) -> bool:
    """Whether all rows of a softmax add to one: under a mask some may be zero."""
    if node.name() == "SoftmaxBackward0":
        return True
    return is_at_hand(tensor) and bool((tensor.sum(dim) > _HALF).all())


@lru_cache(maxsize=256)
def _in_rows(few: bool, rows: Rows | None) -> Need:
    return replace(_FEW if few else PROBABILITIES, rows=rows)


def factor(node: Node, tensor: Tensor) -> Need:
    """A factor of a product; one of log-probabilities, or of differences and parts of them, is exact.

    A quotient may be of many magnitudes, and a mask that comes later may take the large ones away.
    """
    coming = [earlier for earlier, _ in node.next_functions if earlier is not None]
    found = is_quotient = False
    for _ in range(_FARTHEST):
        if not coming:
            break
        earlier = coming.pop()
        name = earlier.name()
        if name == LOGARITHM:
            cast(dict[str, bool], earlier.metadata)[WEIGHED] = found = True
        elif name in _ON_THE_WAY:
            coming.extend(each for each, _ in earlier.next_functions if each is not None)
        is_quotient |= name in _QUOTIENTS
    if found:
        return _WEIGHTS
    needed = of_one_magnitude(node, tensor) if is_quotient else VALUE
    return needed if needed.kind == "exact" else of_few_columns(tensor)


def is_weighed(notes: Notes) -> bool:
    """Whether a product of what a log-softmax gave has been met: its result must be as exact as its weights.

    Args:
        notes: The metadata of its node.
    """
    return WEIGHED in notes


_PROBABILITIES = """
    MaskedSoftmaxBackward0 result
    SafeSoftmaxBackward0 result
    SoftmaxBackward0 result
"""

_SUMS_OF_EXPONENTIALS = """
    CtcLossBackward0 log_probs result0 result1
    CtcLossBackward1 log_probs result0 result1
    CudnnCtcLossBackward0 result0 result1
    CudnnCtcLossBackward1 result0 result1
    LogcumsumexpBackward0 self result
    LogsumexpBackward0 self result
    MiopenCtcLossBackward0 result0 result1
    MiopenCtcLossBackward1 result0 result1
    SparseLogSoftmaxBackward0 self result
    SparseSoftmaxBackward0 self result
"""

_COMPARED = """
    BinaryCrossEntropyBackward0 self target weight
    BinaryCrossEntropyWithLogitsBackward0 self target weight pos_weight
    HuberLossBackward0 self target
    MultiMarginLossBackward0 self weight
    MultilabelMarginLossBackward0 self is_target
    SmoothL1LossBackward0 self target
    SoftMarginLossBackward0 self target
"""

_INDICES = """
    CtcLossBackward0 targets
    CtcLossBackward1 targets input_lengths target_lengths
    MultiMarginLossBackward0 target
    MultilabelMarginLossBackward0 target
    NllLoss2DBackward0 target
    NllLossBackward0 target
"""

LOSSES = merged(
    entries(factor, "MulBackward0 self other"),
    entries(softmax, _PROBABILITIES),
    entries(LOG_PROBABILITIES, "LogSoftmaxBackward0 result"),
    entries(VALUE, "NllLossBackward0 weight\nNllLoss2DBackward0 weight"),
    entries(SHAPE, "NllLossBackward0 self\nNllLoss2DBackward0 self"),
    entries(exact("divided by"), "NllLossBackward0 total_weight\nNllLoss2DBackward0 total_weight"),
    entries(exact("steep function"), _SUMS_OF_EXPONENTIALS),
    entries(exact("sign or logarithm"), _COMPARED),
    entries(exact("compared with the other"), "MseLossBackward0 self target"),
    entries(exact("index"), _INDICES),
    entries(exact("bool mask"), "MaskedSoftmaxBackward0 mask"),
)
