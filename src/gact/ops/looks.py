"""Looks at values on a CPU that decide in which form they are coded.

Small tensors are looked at in C++, since a dozen calls of torch would cost more than the code itself; large ones, and
all where the extension is missing, by torch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import cpu
from .checks import DTYPES

CODES = {dtype: number for number, dtype in enumerate(DTYPES)}
"""Numbers by which C++ is told dtypes."""
_MOST = 2**18
"""Elements from which on torch, with all its threads, is as fast."""


def place_of(tensor: Tensor) -> int | None:
    """Where its first element lies; None for a tensor that a transform of ``torch.func`` has wrapped."""
    try:
        return tensor.data_ptr()
    except RuntimeError:
        return None


def rows_differ(table: Tensor, touched: int, factor: float) -> bool:
    """Whether the norm of a row is so many times that of one near it. False if one is NaN.

    Args:
        table: Contiguous, of a dtype in ``checks.DTYPES``, shape [rows, length].
        touched: Rows that are near each other: so many neighbours.
        factor: How many times.
    """
    library, place = cpu.library(), place_of(table)
    if library is not None and place is not None and table.is_cpu:
        return bool(library.gact_rows_differ(place, CODES[table.dtype], *table.shape, touched, factor))
    return rows_differ_plainly(table, touched, factor)


def rows_differ_plainly(table: Tensor, touched: int, factor: float) -> bool:
    """The same in plain torch.

    Args:
        table: See ``rows_differ``.
        touched: Likewise.
        factor: Likewise.
    """
    # In bfloat16 a norm of its own dtype takes a fraction of the time, and in float16 it may be infinite.
    norms = torch.linalg.vector_norm(table, dim=1, dtype=torch.float32 if table.dtype == torch.float16 else None)
    least, most = torch.aminmax(norms)
    if not most > factor * least:
        return False
    windows = norms.unfold(0, touched, 1)
    return bool((windows.amax(1) > factor * windows.amin(1)).any())


_RUN = 16
_HERE = frozenset({torch.float32, torch.float16, torch.bfloat16})


def extremes_of_runs(runs: Tensor) -> Tensor:
    """Least and greatest of each row, ``[2, rows]`` of float32, of float64 for float64; not finite where a row is not.

    Args:
        runs: Contiguous, ``[rows, length]``.
    """
    library, place = cpu.library(), place_of(runs)
    usable = library is not None and place is not None and runs.is_cpu and runs.dtype in _HERE
    if library is None or not usable or runs.shape[1] % _RUN:
        return torch.stack((runs.amin(1), runs.amax(1))).to(torch.promote_types(runs.dtype, torch.float32))
    found = runs.new_empty(2, len(runs), dtype=torch.float32)
    library.gact_extremes_of_runs(place, CODES[runs.dtype], *runs.shape, *(each.data_ptr() for each in found))
    return found


def mean_square_slope(flat: Tensor, step: int, middle: float, greatest: float) -> float:
    """Mean square of ``1 - (x - middle)^2 / greatest`` over every so manyth element.

    Args:
        flat: One-dimensional and contiguous, of a dtype in ``checks.DTYPES``, at least one element.
        step: From one element to the next that counts.
        middle: Where the slope is greatest.
        greatest: The slope there.
    """
    library, place = cpu.library(), place_of(flat)
    if library is not None and place is not None:
        dtype = CODES[flat.dtype]
        return float(library.gact_mean_square_slope(place, dtype, flat.numel(), step, middle, greatest))
    return mean_square_slope_plainly(flat, step, middle, greatest)


def mean_square_slope_plainly(flat: Tensor, step: int, middle: float, greatest: float) -> float:
    """The same in plain torch.

    Args:
        flat: See ``mean_square_slope``.
        step: Likewise.
        middle: Likewise.
        greatest: Likewise.
    """
    distance = flat[::step].double() - middle
    return float(((greatest - distance.square()) / greatest).square().mean())


def channels_differ(rstd: Tensor, mean: Tensor | None, touched: int, remote: float, uneven: float) -> bool | None:
    """Whether neighbouring channels are so different that a group of both has room for one of them only.

    Args:
        rstd: Reciprocal deviations of channels, contiguous float32, shape [blocks, channels].
        mean: Means, likewise; None for 0.
        touched: Channels that one group may touch.
        remote: How many deviations from zero a mean may lie at most.
        uneven: How many times as wide as its narrowest channel the range of a group may be at most.

    Returns:
        Whether they are, or some mean is remote; None if a figure is not finite or no normal number.
    """
    library, place = cpu.library(), place_of(rstd)
    if library is not None and place is not None and rstd.numel() < _MOST:
        means = None if mean is None else place_of(mean)
        if mean is None or means is not None:
            found = library.gact_channels_differ(place, means, *rstd.shape, touched, remote, uneven)
            return None if found == 0 else bool(found == 2)
    return channels_differ_plainly(rstd, mean, touched, remote, uneven)


def channels_differ_plainly(
    rstd: Tensor, mean: Tensor | None, touched: int, remote: float, uneven: float
) -> bool | None:
    """The same in plain torch.

    Args:
        rstd: See ``channels_differ``.
        mean: Likewise.
        touched: Likewise.
        remote: Likewise.
        uneven: Likewise.
    """
    if mean is None:
        mean = torch.zeros_like(rstd)
    least, most = torch.aminmax(rstd)
    if not (float(least) > 1e-37 and float(most) < 1e37 and bool(mean.isfinite().all())):
        return None
    if bool((mean.abs() * rstd > remote).any()):
        return True
    if touched < 2:
        return False
    reach = 3 / rstd
    low, high, narrowest = (_windows(each, touched) for each in (mean - reach, mean + reach, reach))
    return bool((high.amax(-1) - low.amin(-1) > 2 * uneven * narrowest.amin(-1)).any())


def _windows(table: Tensor, touched: int) -> Tensor:
    """All runs of neighbouring channels; behind the last channel of a block comes its first."""
    return torch.cat((table, table[:, : touched - 1]), 1).unfold(1, touched, 1)
