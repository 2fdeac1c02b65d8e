"""Tensors for the tests of the operators, as data."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
WIDTHS = range(1, 9)
INTEGER = {2: torch.int16, 4: torch.int32, 8: torch.int64, 1: torch.uint8}

SPECIALS = {
    "zeros": [0.0],
    "negative zero": [-0.0, 0.0, 1.0],
    "only negative zero": [-0.0],
    "constant": [math.pi],
    "constant, huge": [3e38],
    "nan": [math.nan, 1.0, 2.0],
    "infinite": [math.inf, 1.0, -2.0],
    "constant, infinite": [-math.inf],
    "poisoned by magnitude": [2.0**100, 1.0],
    "just below the limit": [2.0**100 * (1 - 2.0**-8), -(2.0**99)],
    "subnormal": [1e-40, -2e-42, 3e-41],
    "subnormal half": [6e-8, 3e-6, -1e-7],
    "largest half": [65504.0, -65504.0, 1.0],
    "beyond bfloat16 steps": [1000.0, 1000.0625, 1000.125],
    "tiny range": [1.0, 1.0 + 2.0**-23],
    "mixed scales": [1e-30, 1e20, -1e10],
}


def random(numel: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(numel, dtype=torch.float64, generator=generator) * 3 + 1).to(dtype)


def special(values: list[float], numel: int, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).repeat(-(-numel // len(values)))[:numel].to(dtype)


LINES: tuple[tuple[tuple[int, int], ...], ...] = (
    (),
    ((1, 1),),
    ((5, 1),),
    ((3, 7),),
    ((1100, 1),),
    ((96, 1),),
    ((4, 300),),
    ((1, 70_000),),
    ((10, 49), (49, 1)),
    ((3, 1200), (1200, 1)),
)
"""Channels and neighbours in a channel: every way in which groups and channels can lie to each other."""


class RebuildCase(NamedTuple):
    """What ``rebuild_into`` writes to, and its other arguments."""

    out: Tensor
    arguments: tuple[Any, ...]

    def on(self, device: str) -> list[Any]:
        """The arguments on a device."""
        moved = [_moved(each, device) for each in self.arguments]
        return [[_moved(part, device) for part in each] if isinstance(each, list) else each for each in moved]


def _moved(value: Any, device: str) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def rebuild_case(
    numel: int,
    dtype: torch.dtype,
    code: tuple[int, int],
    lines: tuple[tuple[int, int], ...],
    mask: bool,
    add: bool,
) -> RebuildCase:
    """Codes with a poisoned and a constant stretch, random lines, half of a mask set, large and special sums."""
    x = random(numel, torch.float32, numel)
    x[5:9], x[256:600] = math.nan, 2.5
    codes, metadata = torch.ops.gact.quantize(x, *code, 7, 2)
    bits = torch.ops.gact.encode_mask(random(numel, torch.float32, 1), 1.0, math.inf) if mask else None
    out = random(numel, torch.float32, 2)
    out[::11] *= 2e4
    out[3::50] = math.inf
    both = [random(2 * count, torch.float32, 3).view(2, count) for count, _ in lines]
    inner = tuple(inner for _, inner in lines)
    return RebuildCase(out.to(dtype), (codes, metadata, *code, 7, both, inner, bits, 1 / 0.9, add))


def sum_case(cases: list[RebuildCase]) -> RebuildCase:
    """The sum of what those cases write, onto what the first adds to."""
    columns = zip(*(case.arguments for case in cases), strict=True)
    codes, metadata, bits, group_size, seed, lines, inner, mask, on, add = map(list, columns)
    counts = [len(each) for each in lines]
    joined = [each for part in lines for each in part], [each for part in inner for each in part]
    return RebuildCase(cases[0].out, (codes, metadata, bits, group_size, seed, *joined, counts, mask, on, add[0]))


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal bit for bit, where any two NaN count as equal."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    integer = INTEGER[a.element_size()]
    equal = a.view(integer) == b.view(integer)
    if a.dtype.is_floating_point:
        equal |= a.isnan() & b.isnan()
    return bool(equal.all())
