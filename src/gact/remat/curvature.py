"""Takes from rebuilt values what rounding adds to them on average where a function bends.

NOTE: What rounding adds
Codes are right on average, and so is a linear function of them. Of a curve f, an x whose rounding has the variance v
gives ``f(x) + v f''(x) / 2`` on average. That is taken away as a difference of second order, which needs no derivatives
and is the same for all curves: with h the root of v, ``f(x) - (f(x + h) - 2 f(x) + f(x - h)) / 2``. What is left is
of the fourth order. Of a chain of functions the whole chain is taken as the curve, and of several codes each has a
difference of its own.

NOTE: In tiles, and of some groups
Where the curve is one function of one element, of codes under lines or in boxes, and not one that a user has stated (it
may hold tensors that belong to places, or be written for one shape), all of it is computed for some thousand elements
at a time, in the nearest caches. The difference is small beside the noise of the rounding, so it is enough to have it
on average: at 3 bits it is taken of about every second group and counts twice, of every eighth at 4 bits, of every 32nd
at 5 bits. With which group that begins is drawn, by the seed of the codes. It adds a hundredth or two to the variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..codecs.boxes import Boxes
from ..codecs.chunks import at_once, flat_of, key_from, tiles
from ..codecs.fused import DTYPES
from ..codecs.groups import Groups
from ..codecs.lines import Lines
from ..codecs.transformed import LARGEST_HALF, Transformed
from ..codecs.transforms import Inverse
from ..ops import checks
from ..saved.encoded import Encoded
from .made import Made
from .rules import Rebuild
from .shifted import deviations_of, spread
from .sources import Source

_PARTS = 16
"""A tile is so many of the parts in which regions are coded, since it takes more calls of operators; fewer where the
difference is taken of many groups, since each of them is there three times more."""
_LEAST = 16
"""Groups of which the difference is taken at least."""
_STREAM = 0x6A09E667F3BCC908
_ONES = 2**64 - 1
_rebuild_into = torch.ops.gact.rebuild_into.default


class Curved(Protocol):
    """A rebuilt tensor that is no linear function of its codes, as ``derived.Derived`` is one."""

    @property
    def rebuild(self) -> Rebuild:
        """Makes it from its sources."""
        ...

    @property
    def sources(self) -> Sequence[Source]:
        """What gives each of them."""
        ...

    @property
    def made(self) -> Made:
        """What the op made."""
        ...

    @property
    def roots(self) -> tuple[Encoded, ...]:
        """The narrow codes it comes from."""
        ...

    def moved(self, root: Encoded | None, times: float) -> Curved:
        """What its ops give, bends included, where a root is off by so many deviations of its error."""
        ...

    def rebuilt(self) -> Tensor:
        """The op's result."""
        ...


def unbent(derived: Curved) -> Tensor:
    """The values of a rebuilt tensor that bends, right on average.

    Args:
        derived: The tensor.
    """
    made, sources = derived.made, derived.sources
    first = sources[0]
    alone = all(each.held is first.held and each.layout == first.layout for each in sources)
    if alone and len(derived.roots) == 1 and made.dtype in DTYPES and derived.rebuild.stated is None:
        code = first.bent(made.size, made.stride) or first.boxed(made.size, made.stride)
        if code is not None:
            return _in_tiles(derived, code, ())
        found = first.one_pass(made.size, made.stride)
        if found is not None and found.is_bare:
            return _in_tiles(derived, *found.loaded())
    return _as_a_whole(derived)


def _as_a_whole(derived: Curved) -> Tensor:
    """By running the whole chain on the roots as they are, and on each a deviation above and below."""
    roots = derived.roots
    plain = derived.moved(None, 0.0).rebuilt()
    total = plain.to(torch.promote_types(plain.dtype, torch.float32)).mul_(1.0 + len(roots))
    for root in roots:
        for times in (1.0, -1.0):
            total.sub_(derived.moved(root, times).rebuilt(), alpha=0.5)
    if plain.dtype == torch.float16:
        total.clamp_(-LARGEST_HALF, LARGEST_HALF)
    values: Tensor = total.to(plain.dtype)
    return values


def _in_tiles(derived: Curved, code: Groups, lines: Lines) -> Tensor:
    """Runs tile by tile, for a function of each element by itself, of codes under lines."""
    made = derived.made
    out: Tensor = code.codes.new_empty_strided(made.size, made.stride, dtype=made.dtype)
    flat, groups = flat_of(out), code.group_size
    parts = min(_PARTS, 2 * every_of(code.bits, out.numel(), groups))
    length = min(_tile(at_once(out) * parts, groups, lines), flat.numel())
    curve = _Curve(derived, code, length)
    boxes = curve.boxes
    decode = None if boxes is None else boxes.decoder()
    deviations = deviations_of(code.metadata)
    buffer = None if out.dtype == torch.float32 else flat.new_empty(length, dtype=torch.float32)
    for start, stop in tiles(flat, length):
        values = flat[start:stop] if buffer is None else buffer[: stop - start]
        first, last = start // groups, checks.group_count(stop, groups)
        codes = code.codes[checks.code_bytes(start, code.bits) : checks.code_bytes(stop, code.bits)]
        which = (codes, code.metadata[first:last], code.bits, groups, key_from(code.seed, first))
        here = [(_line_of(line, inner, start, stop), inner) for line, inner in lines]
        if decode is None or not decode(start, values, *which):
            _rebuild_into(values, *which, [line for line, _ in here], [inner for _, inner in here], None, 1.0, False)
            if boxes is not None:
                boxes.inverse()(start, values)
        curve.apply(first, values, deviations[first:last], here)
        if buffer is not None:
            flat[start:stop].copy_(values if out.dtype != torch.float16 else values.clamp_(-LARGEST_HALF, LARGEST_HALF))
    if code.aside is not None:
        code.restore_aside(flat, curve.of(code.aside, out.dtype))
    return out


class _Curve:
    """A function of each element by itself, with what it takes to have it right on average.

    Args:
        derived: The tensor whose function it is.
        code: The codes it is a function of.
        length: Elements of a tile at most.

    Attributes:
        boxes: The boxes in which values are held as places; None for other codes.
    """

    def __init__(self, derived: Curved, code: Groups, length: int) -> None:
        self._rebuild = derived.rebuild
        self._unbend = None if code.bent is None else code.bent.inverse()
        transform = code.transform if isinstance(code, Transformed) else None
        self.boxes = transform if isinstance(transform, Boxes) else None
        self._arguments = len(derived.sources)
        self._size = code.group_size
        self._every = every_of(code.bits, derived.made.size.numel(), code.group_size)
        self._drawn = _drawn(code.seed) % self._every
        self._moved = code.codes.new_empty(2 * (length // self._every + 2 * self._size), dtype=torch.float32)
        self._deviations: Tensor | None = None

    def apply(self, first: int, values: Tensor, deviations: Tensor, lines: Lines) -> None:
        """Replaces decoded values of a tile by those of the function.

        Args:
            first: Number of the first group.
            values: One-dimensional, whole groups but for the last one of all.
            deviations: Of what was decoded, for each group.
            lines: Applied to what was decoded.
        """
        whole = values.numel() // self._size
        chosen = slice((self._drawn - first) % self._every, whole, self._every)
        groups, rest = self._cut(values, whole)
        if lines:
            steps, last = self._cut(self._under(lines, deviations, values.numel()), whole)
        else:
            steps, last = deviations[:whole, None], deviations[whole:, None]
        steps, size = steps[chosen], self._size
        if self.boxes is not None:
            start = (first + chosen.start) * size
            steps = self.boxes.widths_of(start, len(steps), size, self._every * size).mul_(steps)
            last = self.boxes.widths_of((first + whole) * size, len(rest), rest.shape[1], size) * last
        parts = [(groups[chosen], steps, self._every)] + ([(rest, last, 1)] if rest.numel() else [])
        moved, used = [], 0
        for part, step, _ in parts:
            higher, lower = self._moved[used : used + 2 * part.numel()].view(2, *part.shape)
            torch.add(part, step, out=higher)
            torch.sub(part, step, out=lower)
            moved.append((higher, lower))
            used += 2 * part.numel()
        self._replace(self._moved[:used], self._unbend)
        self._replace(values, self._unbend)
        for (part, _, times), (higher, lower) in zip(parts, moved, strict=True):
            part.lerp_(higher.lerp_(lower, 0.5), -float(times))

    def of(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """The function of exact values."""
        values = values.to(torch.float32, copy=True)
        self._replace(values, None)
        return values.clamp_(-LARGEST_HALF, LARGEST_HALF) if dtype == torch.float16 else values

    def _cut(self, flat: Tensor, whole: int) -> tuple[Tensor, Tensor]:
        """Whole groups as the rows of a matrix, and what is left as a row."""
        end = whole * self._size
        return flat[:end].view(whole, self._size), flat[None, end:]

    def _under(self, lines: Lines, deviations: Tensor, length: int) -> Tensor:
        """The deviation of each element under lines: it is multiplied by their factors."""
        if self._deviations is None:
            self._deviations = self._moved.new_empty(length)
        each = self._deviations[:length]
        spread(deviations, self._size, each)
        for (factors, _), inner in lines:
            if inner == 1:
                each.view(-1, factors.numel()).mul_(factors)
            else:
                each.view(-1, factors.numel(), inner).mul_(factors[:, None])
        return each

    def _replace(self, values: Tensor, unbend: Inverse | None) -> None:
        """Replaces arguments, or what they are under a hyperbola, by what the function makes of them."""
        if unbend is not None:
            unbend(0, values)
        rebuild, arguments = self._rebuild, [values] * self._arguments
        if rebuild.overwrite is not None:
            rebuild.overwrite(*arguments)
        else:
            values.copy_(rebuild.make(*arguments))


def _tile(length: int, unit: int, lines: Lines) -> int:
    """Elements of a tile: about so many, a multiple of a unit and whole runs of every line."""
    runs = [line.shape[1] if inner == 1 else inner for line, inner in lines]
    step = math.lcm(unit, *runs)
    return max(length // step, 1) * step


def _line_of(line: Tensor, inner: int, start: int, stop: int) -> Tensor:
    """The line of some elements, of which the first begins a run."""
    channels = line.shape[1]
    if inner == 1:
        return line
    first, count = start // inner % channels, (stop - start) // inner
    if first == 0 and count % channels == 0:
        return line
    if first + count <= channels:
        return line[:, first : first + count].contiguous()
    return line[:, torch.arange(first, first + count, device=line.device) % channels]


def every_of(bits: int, numel: int, group_size: int) -> int:
    """Of how many groups the difference is taken of one.

    The number has no divisor in common with that of the elements: so from row to row, however long rows are, the groups
    lie in other places, and every place is met as often as every other.

    Args:
        bits: Width of the codes.
        numel: Elements of the tensor.
        group_size: Elements of a group.
    """
    every = min(1 << max(2 * bits - 5, 0), max(numel // group_size // _LEAST, 1))
    while math.gcd(every, numel) > 1:
        every += 1
    return every


def _drawn(seed: int) -> int:
    """A random number of 20 bits: the finaliser of SplitMix64 on a stream of its own."""
    key = (seed ^ _STREAM) & _ONES
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 & _ONES
    key = (key ^ key >> 27) * 0x94D049BB133111EB & _ONES
    return (key ^ key >> 31) >> 44
