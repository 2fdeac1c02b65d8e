"""One pass over codes that writes a rebuilt tensor, instead of one over memory for every op that made it.

A pass decodes group codes, applies the lines of a normalisation, adds what is in memory and applies a mask, each if
there is one: see "Rebuilding" in ``docs/codes.md``. The values are those of the ops one after the other, up to their
rounding. Where what is added is itself written by a pass, both run tile by tile, so that a chain of residual sums goes
over memory once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..ops import checks
from .groups import Groups
from .lines import Lines
from .masks import Mask

DTYPES = frozenset(checks.REBUILT_DTYPES)
"""What a pass can write."""

_MOST_LINES = 2
_rebuild_into = torch.ops.gact.rebuild_into.default
_rebuild_sum_into = torch.ops.gact.rebuild_sum_into.default


class Decoded(Protocol):
    """Group codes, on their device or elsewhere.

    Attributes:
        one_pass: Whether decoding can be part of a pass.
        line: Channels and neighbours of the line that decoding ends with; None if there is none.
    """

    @property
    def one_pass(self) -> bool:  # noqa: D102
        ...

    @property
    def line(self) -> tuple[int, int] | None:  # noqa: D102
        ...

    def loaded(self) -> object:
        """The codes with their data on the device."""
        ...


class Base(Protocol):
    """What a pass adds to."""

    @property
    def dtype(self) -> torch.dtype | None:
        """Dtype of its value, if it may be written by a pass."""
        ...

    @property
    def is_fresh(self) -> bool:
        """Whether its value may be overwritten."""
        ...

    def value(self) -> Tensor:
        """The tensor."""
        ...

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """The pass that writes its value to memory of that size and stride; None if there is none."""
        ...


class Factor(Protocol):
    """A mask that a pass multiplies by."""

    def erasing(self) -> Mask | None:
        """The mask, if it is one that erases."""
        ...

    def mask_(self, x: Tensor) -> None:
        """Multiplies a tensor by the mask."""
        ...


@dataclass(frozen=True, slots=True)
class Pass:
    """A tensor that one pass over codes writes.

    Attributes:
        code: The codes.
        lines: Factors and shifts, applied one after the other.
        base: What is added; None for nothing.
        mask: What the sum is multiplied by; None for nothing.
    """

    code: Decoded
    lines: Lines = ()
    base: Base | None = None
    mask: Factor | None = None

    @property
    def is_bare(self) -> bool:
        """Whether it has neither a sum nor a mask."""
        return self.base is None and self.mask is None

    @staticmethod
    def over(code: Decoded) -> Pass | None:
        """The pass that decodes; None if the code takes part in none."""
        return Pass(code) if code.one_pass else None

    def under(self, lines: Lines) -> Pass | None:
        """This pass with more lines; None if that is too much for one pass."""
        both = (*self.lines, *lines)
        extents = [(line.shape[1], inner) for line, inner in both]
        own = self.code.line
        count = _fewest(extents if own is None else [own, *extents])
        return replace(self, lines=both) if self.is_bare and count <= _MOST_LINES else None

    def onto(self, base: Base) -> Pass:
        """This pass, added to a base."""
        return replace(self, base=base)

    def masked(self, mask: Factor) -> Pass | None:
        """This pass times a mask; None if it has one."""
        return replace(self, mask=mask) if self.mask is None else None

    def run(self, size: torch.Size, stride: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The tensor in that dense layout, in the memory of what it is added to where that is fresh and fits."""
        terms = self._terms(size, stride, dtype)
        value = terms[0]._added(size, stride, dtype)
        # Not before there is what it is added to: until then the codes of other passes may have to be there.
        found = [term._loaded() for term in terms]
        out = found[0].code.codes.new_empty_strided(size, stride, dtype=dtype) if value is None else value
        if len(found) == 1:
            _rebuild_into(out, *found[0].arguments(), value is not None)
        else:
            _rebuild_sum_into(out, *_joined(found), value is not None)
        if self.mask is not None and found[-1].mask is None:
            self.mask.mask_(out)
        return out

    def _terms(self, size: torch.Size, stride: tuple[int, ...], dtype: torch.dtype) -> list[Pass]:
        """The passes that write the sum, the last of which is this one."""
        terms = [self]
        while (base := terms[-1].base) is not None and base.dtype is dtype:
            found = base.one_pass(size, stride)
            if found is None or not found._is_at_hand:
                break
            terms.append(found)
        return terms[::-1]

    @property
    def _is_at_hand(self) -> bool:
        """Whether it needs nothing but codes that are on their device."""
        return isinstance(self.code, Groups) and (self.mask is None or self.mask.erasing() is not None)

    def loaded(self) -> tuple[Groups, Lines]:
        """The codes on their device, and the lines that are applied to them."""
        code = self.code.loaded()
        assert isinstance(code, Groups)
        return code, _merged((*code.lines(), *self.lines) if code.line is not None else self.lines)

    def _loaded(self) -> _Term:
        return _Term(*self.loaded(), None if self.mask is None else self.mask.erasing())

    def _added(self, size: torch.Size, stride: Sequence[int], dtype: torch.dtype) -> Tensor | None:
        """What is added, in memory of that layout that may be overwritten."""
        base = self.base
        if base is None:
            return None
        value = base.value()
        if base.is_fresh and value.dtype is dtype and value.size() == size and value.stride() == stride:
            return value
        return value.new_empty_strided(size, stride, dtype=dtype).copy_(value)


class _Term(NamedTuple):
    """A pass with all it needs."""

    code: Groups
    lines: Lines
    mask: Mask | None

    def arguments(self) -> tuple[Any, ...]:
        """Those of ``rebuild_into`` between the first and the last."""
        code, lines, mask = self
        which = (code.codes, code.metadata, code.bits, code.group_size, code.seed)
        under = ([line for line, _ in lines], [inner for _, inner in lines])
        return (*which, *under, *((None, 1.0) if mask is None else (mask.codes, mask.test.on)))


def _fewest(extents: Sequence[tuple[int, int]]) -> int:
    """How many lines are left if neighbours of the same channels are merged."""
    return sum(each != before for each, before in zip(extents, [None, *extents], strict=False))


def _merged(lines: Lines) -> Lines:
    """The lines, as many merged as it takes for one pass."""
    left = list(lines)
    for at in range(len(left) - 1, 0, -1):
        if len(left) <= _MOST_LINES:
            break
        (first, inner), (second, other) = left[at - 1 : at + 1]
        if inner == other and first.shape == second.shape:
            # Row by row: factors, shifts.
            merged = torch.stack((first[0] * second[0], first[1] * second[0] + second[1]))
            left[at - 1 : at + 1] = [(merged, inner)]
    return left


def _joined(terms: Sequence[_Term]) -> tuple[list[Any], ...]:
    """The arguments of ``rebuild_sum_into`` between the first and the last."""
    columns = map(list, zip(*(term.arguments() for term in terms), strict=True))
    *which, lines, inner, mask, on = columns
    joined = ([*chain.from_iterable(each)] for each in (lines, inner))
    return (*which, *joined, [len(each) for each in lines], mask, on)
