"""Results of softmax and log-softmax: probabilities, the greatest of which are held aside.

Those of a classifier that is sure, or of an attention that looks at one place, would set the step for all others,
though what they leave to others is all that the gradient is made of. The backward of log-softmax is linear in
``exp(result)``, so there too it is the probability that is quantized.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..autograd.internals import is_at_hand
from .chunks import at_once, flat_of, spans
from .lines import Lines
from .sums import rows_along
from .transforms import Forward, Inverse, working

_LEAST = 2.0**-100
"""Probabilities below count as 0, so that no share of the gradient is denormal: processors are slow at those."""
_ZERO = -1000.0
"""The logarithm of a probability of 0: a number, whose exponential is 0 in every dtype."""
_SHARP = 4.0
"""How many times the mean of its row a greatest probability is, in the square mean, for them to be held aside."""
_FEW = 64
_MANY = 16
"""Share of a part that the greatest probabilities of a block may be for their places to be computed one by one."""


class Probabilities:
    """Probabilities, less the greatest one of every ``group_size`` classes in a row.

    Args:
        region: A dense region of them.
        dim: The dimension of the classes.
        group_size: Elements of a group.

    Attributes:
        peaks: The greatest, ``[outer, segments, inner]``, in the dtype of the region; in float16, which leaves p off by
            2^-11 p at most, where classes are few, so that peaks are many.
        places: Where in its segment of the classes each is.
    """

    __slots__ = ("_classes", "_inner", "_numel", "_segment", "peaks", "places")

    name = "probabilities"
    rounding = "dithered"
    parts: tuple[str, ...] = ("peaks", "places")
    line: tuple[int, int] | None = None

    def __init__(self, region: Tensor, dim: int, group_size: int) -> None:
        self._classes, self._inner = rows_along(region, dim)
        self._numel = region.numel()
        self._segment = min(group_size, self._classes)
        self.peaks, self.places = self._greatest(flat_of(region.detach()))

    @property
    def nbytes(self) -> int:
        """Bytes of what is held exactly."""
        return int(self.peaks.nbytes + self.places.nbytes)

    def lines(self) -> Lines:
        """None: its inverse is no line."""
        return []

    def values(self, dtype: torch.dtype) -> torch.dtype:
        """float32, or float64 for float64."""
        return working(dtype)

    def forward(self, flat: Tensor) -> Forward:
        """The probabilities, 0 in place of the greatest."""
        # Not finite where those are not, so that their groups are poisoned.
        zeros = self._read(self.peaks.clone()).mul_(0)

        def write(start: int, out: Tensor) -> None:
            self._read(out.copy_(flat[start : start + out.numel()]))
            self._put(start, out, zeros)

        return write

    def _read(self, elements: Tensor) -> Tensor:
        """Makes probabilities of elements, in place."""
        return elements

    def inverse(self) -> Inverse:
        """The greatest in their places."""

        def undo(start: int, values: Tensor) -> None:
            self._put(start, values, self.peaks)

        return undo

    @property
    def _block(self) -> int:
        """Elements of the rows that lie in one another."""
        return self._classes * self._inner

    @property
    def _starts(self) -> range:
        """The first class of every segment."""
        return range(0, self._classes, self._segment)

    def _greatest(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """The greatest log-probability of every segment of every row, and its place."""
        outer, segments, inner = self._numel // self._block, len(self._starts), self._inner
        few = self._classes <= _FEW and flat.dtype == torch.float32
        peaks = flat.new_empty(outer, segments, inner, dtype=torch.float16 if few else flat.dtype)
        narrow = torch.uint8 if self._segment <= 256 else torch.int16
        places = torch.empty(outer, segments, inner, dtype=narrow, device=flat.device)
        table, length = flat.view(outer, self._classes, inner), at_once(flat)
        whole = self._classes // self._segment
        for first, last in spans(outer, max(length // self._block, 1)):
            for left, right in spans(inner, max(length // self._classes, 1) if last - first == 1 else inner):
                rows = table[first:last, :, left:right]
                body, rest = rows.split([whole * self._segment, self._classes - whole * self._segment], 1)
                parts = [body.unflatten(1, (whole, self._segment)), rest[:, None]]
                found = [part.max(2) for part in parts if part.shape[2]]
                peaks[first:last, :, left:right] = torch.cat([peak for peak, _ in found], 1)
                places[first:last, :, left:right] = torch.cat([place for _, place in found], 1)
        return peaks, places

    def _put(self, start: int, part: Tensor, peaks: Tensor) -> None:
        """Writes what stands for the greatest to their places in elements from ``start`` on."""
        first, last = start // self._block, (start + part.numel() - 1) // self._block
        if len(self._starts) * self._inner * _MANY <= at_once(part):
            self._put_each(start, part, first, last + 1, peaks)
            return
        for block in range(first, last + 1):
            self._put_among(start, part, block, peaks[block])

    def _put_each(self, start: int, part: Tensor, first: int, last: int, peaks: Tensor) -> None:
        """In whole blocks, to places that are computed."""
        device, places = part.device, self.places[first:last].long()
        blocks = torch.arange(first, last, device=device)[:, None, None] * self._block - start
        segments = torch.arange(0, self._classes, self._segment, device=device)[:, None]
        where = ((segments + places) * self._inner + torch.arange(self._inner, device=device) + blocks).flatten()
        what = peaks[first:last].flatten().to(part.dtype)
        within = (where >= 0) & (where < part.numel())
        # Those of other parts are written to the first element, as what is to be there; selecting would wait.
        begins = where == 0
        kept = torch.where(begins.any(), torch.where(begins, what, 0).sum(), part[0])
        part[torch.where(within, where, 0)] = torch.where(within, what, kept)

    def _put_among(self, start: int, part: Tensor, block: int, peaks: Tensor) -> None:
        """In one block, by comparing each class with the place of the greatest."""
        base, inner = block * self._block - start, self._inner
        for number in range(max(-base // inner, 0), self._classes):
            begin = base + number * inner
            lower, upper = max(begin, 0), min(begin + inner, part.numel())
            if lower >= upper:
                break
            segment, place = divmod(number, self._segment)
            here = self.places[block, segment, lower - begin : upper - begin] == place
            what = peaks[segment, lower - begin : upper - begin].to(part.dtype)
            part[lower:upper] = torch.where(here, what, part[lower:upper])


def are_sharp(region: Tensor, dim: int) -> bool:
    """Whether the greatest probabilities of rows would set the step for the others. False where looking would wait.

    Args:
        region: A dense region of probabilities.
        dim: The dimension of the classes.
    """
    if not is_at_hand(region) or not region.numel():
        return False
    greatest = region.detach().amax(dim).float().square().mean()
    return bool(greatest * region.shape[dim] ** 2 > _SHARP**2)


class LogProbabilities(Probabilities):
    """Probabilities of a region that holds their logarithms. The logarithms of the greatest are held.

    In float16 those leave p off by 2^-11 |log p| p at most.
    """

    __slots__ = ()

    rounding = "stochastic"

    def _read(self, elements: Tensor) -> Tensor:
        return torch.threshold_(elements.exp_(), _LEAST, 0.0)

    def inverse(self) -> Inverse:
        """The logarithms; of 0 a finite number, so that no product with it is NaN. That of 0 is slow, too."""

        def undo(start: int, values: Tensor) -> None:
            torch.threshold_(values.clamp_(min=_LEAST / 4).log_(), math.log(_LEAST / 2), _ZERO)
            self._put(start, values, self.peaks)

        return undo
