"""Group quantization of an exact transformation of a region. See ``transforms.py``."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..ops import checks
from .bent import Bent
from .boxes import Boxes
from .chunks import at_once, flat_of, key_from, sampled, tiles
from .groups import PARTS, Groups, round_
from .lines import Lines
from .transforms import Transform

_quantize = torch.ops.gact.quantize.default
_dequantize_into = torch.ops.gact.dequantize_into.default
_rebuild_into = torch.ops.gact.rebuild_into.default
_REBUILT = frozenset(checks.REBUILT_DTYPES)
LARGEST_HALF = 65504.0


class _Part:
    """A tensor of the transform as an attribute of the code, so that a store can move it.

    Args:
        name: Its name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, code: Transformed | None, owner: type[Transformed]) -> Any:
        return self if code is None else getattr(code.transform, self._name)

    def __set__(self, code: Transformed, part: Tensor | None) -> None:
        # A copy of the code shares its transform.
        code.transform = copy.copy(code.transform)
        setattr(code.transform, self._name, part)


class Transformed(Groups):
    """A dense region held as codes of what a transform makes of it.

    Args:
        region: Tensor that is dense in memory, of a dtype in ``DTYPES``.
        bits: Width of a code, 1 to 8.
        group_size: Elements per group, a power of two from 32 to 1024.
        seed: Key of the random stream, any int64.
        transform: The transform, made for this region.
    """

    __slots__ = ("transform",)

    exponents = _Part("exponents")
    peaks = _Part("peaks")
    places = _Part("places")
    signs = _Part("signs")
    bounds = _Part("bounds")
    ranges = _Part("ranges")

    def __init__(self, region: Tensor, bits: int, group_size: int, seed: int, transform: Transform) -> None:
        self.transform = transform
        self.parts = (*PARTS, *transform.parts)
        self.aside = self.aside_units = None
        self.seed = seed
        self.bits = bits
        self.group_size = group_size
        self.dtype = region.dtype
        self.large = False
        self.codes, self.metadata = self._encoded(region.detach())
        self.nbytes = self.codes.nbytes + self.metadata.nbytes + transform.nbytes

    @property
    def line(self) -> tuple[int, int] | None:  # type: ignore[override]
        """Channels and neighbours of the line that decoding ends with; None if there is none."""
        return self.transform.line

    @property
    def one_pass(self) -> bool:
        """Whether decoding can be part of one pass over codes."""
        return self.transform.line is not None and self.aside is None

    @property
    def bent(self) -> Bent | None:  # type: ignore[override]
        """The hyperbola under which values are held; None if it is a line."""
        return self.transform if isinstance(self.transform, Bent) else None

    @property
    def rounding(self) -> int:
        """How what is quantized is rounded, as an index of ``checks.ROUNDINGS``."""
        return checks.ROUNDINGS.index(self.transform.rounding)

    def spread(self) -> Tensor:
        """Mean squared range of a group, or of a box."""
        spread = super().spread()
        return spread * self.widths().square_().mean() if isinstance(self.transform, Boxes) else spread

    def widths(self) -> Tensor:
        """The range of every box, one-dimensional; 0 of those that are held exactly."""
        assert isinstance(self.transform, Boxes)
        widths = self.transform.widths().flatten()
        if self.aside_units is not None:
            widths[self.aside_units.long()] = 0.0
        return widths

    def elements_of(self, units: Tensor, numel: int) -> Tensor:
        """The elements of some groups of what lies under a hyperbola, of some boxes; otherwise units are elements."""
        if isinstance(self.transform, Boxes):
            return self.transform.grid.places(units)
        return super().elements_of(units, numel) if self.bent is not None else units.long()

    def _forget(self, units: Tensor) -> None:
        if self.bent is not None:
            super()._forget(units)

    def lines(self) -> Lines:
        """The line that decoding ends with."""
        return self.transform.lines()

    def sample(self, region: Tensor) -> Tensor:
        """What is quantized of a region, in some of its groups; one-dimensional."""
        parts = sampled(region.numel(), self.group_size)
        length = parts[0][1] - parts[0][0]
        sample = region.new_empty(len(parts) * length, dtype=self.transform.values(self.dtype))
        forward = self.transform.forward(flat_of(region.detach()))
        for (start, _), part in zip(parts, sample.split(length), strict=True):
            forward(start, part)
        return sample

    def decode_into(self, out: Tensor) -> None:
        """Writes into a dense tensor, in its memory order."""
        if self.transform.line is None or out.dtype not in _REBUILT:
            self._decode_into(out)
            return
        lines, inner = zip(*self.lines(), strict=True)
        which = (self.codes, self.metadata, self.bits, self.group_size, self.seed)
        _rebuild_into(out, *which, lines, inner, None, 1.0, False)
        _clamp(out)
        self.restore_aside(flat_of(out))

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride."""
        out: Tensor = self.codes.new_empty_strided(size, stride, dtype=self.dtype)
        self.decode_into(out)
        return out

    def decode_rounded(self, size: tuple[int, ...], stride: tuple[int, ...], bits: int, seed: int) -> Tensor:
        """A fresh tensor of that size and dense stride; what is decoded is rounded once more before the inverse."""
        out: Tensor = self.codes.new_empty_strided(size, stride, dtype=self.dtype)
        self._decode_into(out, (bits, seed))
        return out

    def _encoded(self, region: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and metadata, which are those of all values at once."""
        flat, length, rounding = flat_of(region), at_once(region), self.rounding
        if isinstance(self.transform, Boxes):
            found = self.transform.encoded(flat, self.bits, self.group_size, self.seed)
            if found is not None:
                return found
        forward = self.transform.forward(flat)
        buffer = flat.new_empty(min(length, flat.numel()), dtype=self.transform.values(self.dtype))
        parts: list[tuple[Tensor, Tensor]] = []
        for start, stop in tiles(flat, length):
            values = buffer[: stop - start]
            forward(start, values)
            seed = key_from(self.seed, start // self.group_size)
            parts.append(_quantize(values, self.bits, self.group_size, seed, rounding))
        if length < flat.numel() and len(parts) == 1:  # without data
            parts.append(self._empty(parts[0], flat.numel() - length))
        if len(parts) == 1:
            return parts[0]
        codes, metadata = zip(*parts, strict=True)
        return torch.cat(codes), torch.cat(metadata)

    def _empty(self, part: tuple[Tensor, Tensor], numel: int) -> tuple[Tensor, Tensor]:
        """Codes and metadata of so many elements, as large as those of a part."""
        codes, metadata = part
        groups = checks.group_count(numel, self.group_size)
        return codes.new_empty(checks.code_bytes(numel, self.bits)), metadata.new_empty(groups, *metadata.shape[1:])

    def _decode_into(self, out: Tensor, noise: tuple[int, int] | None = None) -> None:
        """Decodes part by part, and rounds once more if a width and a key are given."""
        flat, length, groups = flat_of(out), at_once(out), self.group_size
        if noise is None and isinstance(self.transform, Boxes) and self._in_one_pass(flat, self.transform):
            return
        inverse = self.transform.inverse()
        dtype = self.transform.values(self.dtype)
        buffer = None if out.dtype == dtype else flat.new_empty(min(length, flat.numel()), dtype=dtype)
        for start, stop in tiles(flat, length):
            values = flat[start:stop] if buffer is None else buffer[: stop - start]
            first = start // groups
            codes = self.codes[checks.code_bytes(start, self.bits) : checks.code_bytes(stop, self.bits)]
            metadata = self.metadata[first : checks.group_count(stop, groups)]
            _dequantize_into(values, codes, metadata, self.bits, groups, key_from(self.seed, first))
            if noise is not None:
                bits, seed = noise
                round_(values, bits, groups, key_from(seed, first), self.rounding)
            inverse(start, values)
            if buffer is not None:
                flat[start:stop].copy_(values.clamp_(-LARGEST_HALF, LARGEST_HALF) if _is_half(out) else values)
        self.restore_aside(flat)

    def _in_one_pass(self, flat: Tensor, boxes: Boxes) -> bool:
        """Decodes all elements in one pass; False, and nothing is written, where it takes two."""
        codes = (self.codes, self.metadata, self.bits, self.group_size, self.seed)
        if flat.dtype == torch.float64 or not boxes.decoder()(0, flat, *codes):
            return False
        self.restore_aside(flat)
        return True


def _is_half(out: Tensor) -> bool:
    return out.dtype == torch.float16


def _clamp(out: Tensor) -> None:
    """Limits what a step beyond the largest element has made infinite."""
    if _is_half(out):
        out.clamp_(-LARGEST_HALF, LARGEST_HALF)


def add_part(name: str) -> None:
    """Has codes show a tensor of their transform as an attribute of that name, so that a store can move it.

    Args:
        name: Its name.

    Raises:
        ValueError: If all codes have an attribute of that name.
    """
    known = getattr(Transformed, name, None)
    if known is not None and not isinstance(vars(Transformed).get(name), _Part):
        raise ValueError(f"a tensor of a transform may not be called {name!r}, as something that every code has")
    if known is None:
        setattr(Transformed, name, _Part(name))
