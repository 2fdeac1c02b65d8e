"""What must survive of a saved tensor, as the backward of its autograd node reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import Node

from ..codecs.masks import MaskTest
from ..codecs.sums import Rows


@dataclass(frozen=True, slots=True)
class Need:
    """What must survive of a saved tensor.

    Attributes:
        kind: ``"value"`` (an unbiased estimate: backward is linear in it, or nearly), ``"mask"`` (which side of a
            bound, one exact bit), ``"integers"`` and ``"sparse"`` (held without loss by what the values are),
            ``"exact"``, ``"unknown"`` (exact until the user says what backward reads), or ``"shape"`` (backward reads
            size, strides, dtype and device and no element).
        min_bits: Least width of a value's code.
        mask: The test of a mask.
        why: For exact and unknown ones, what the backward does with the value.
        max_bits: Greatest width, where a rule sets one.
        prior_bits: Least width while it is not known how much the gradient suffers from its rounding.
        form: By what transformation a value is coded: ``""`` for none; ``"normalised"``, its distance from the node's
            exact mean in the node's exact deviations; ``"probabilities"``, itself without the greatest of
            each row; ``"log_probabilities"``, the same of its exponential; ``"sine"``, ``"cosine"``, ``"tanh"`` and
            ``"sigmoid"``, the slope that backward reads of it.
        row: Elements of a row over which backward takes a statistic again and multiplies it with the row: if rounding
            outweighs the row, it grows from layer to layer. 0 if it takes none.
        turn: Distance within which what backward reads of the value goes a good part of the way from one number to
            another, where it stays: the steps of codes may not be many times as wide. 0 if there is none.
        step: How large the steps of codes may be. 0 if any may.
        rows: How rows that add to one lie in memory, and so have to when they are decoded; None if there are none.
        times: How many values it stands for in compiled code, whose bits it has together.
    """

    kind: str
    min_bits: int = 1
    mask: MaskTest | None = None
    why: str = ""
    max_bits: int = 8
    prior_bits: int = 1
    form: str = ""
    row: int = 0
    turn: float = 0.0
    step: float = 0.0
    rows: Rows | None = None
    times: int = 1


Chooser = Callable[[Node, Tensor], Need]
Slots = Mapping[str, Need | Chooser]

VALUE = Need("value")
WIDE = Need("value", min_bits=8)
SHAPE = Need("shape")
SIGN = Need("mask", mask=MaskTest())
NORMALISED = Need("value", form="normalised")

FEW = 32
"""So many elements that one statistic, or one softmax, is of are few: their gradients almost cancel."""


def exact(why: str) -> Need:
    """The need of a value that may not change.

    Args:
        why: What the backward does with it.
    """
    return Need("exact", why=why)


def entries(need: Need | Chooser, text: str) -> dict[str, dict[str, Need | Chooser]]:
    """Slots that share a need, by node.

    Args:
        need: The need, or what chooses it.
        text: A line per node: the name of its class and the slots.
    """
    lines = (line.split() for line in text.strip().splitlines())
    return {name: dict.fromkeys(slots, need) for name, *slots in lines}


def merged(*parts: Mapping[str, Slots]) -> dict[str, dict[str, Need | Chooser]]:
    """One table of several.

    Args:
        *parts: Tables by node and slot.

    Raises:
        ValueError: If a slot is in two of them.
    """
    table: dict[str, dict[str, Need | Chooser]] = {}
    for part in parts:
        for name, slots in part.items():
            known = table.setdefault(name, {})
            twice = known.keys() & slots.keys()
            if twice:
                raise ValueError(f"{name} has {', '.join(sorted(twice))} twice in the table of needs; remove one")
            known.update(slots)
    return table
