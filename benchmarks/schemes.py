"""Ways to code groups in a few bits, each as the variance it gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from .tables import dithered_variance, fit_dithered_table, fit_table, gaussian_table, histogram
from .variance import SIZE, Groups, Outcome, Sample, Scheme, dithered, rows_and_bounds, stochastic, total


def uniform(size: int = SIZE) -> Scheme:
    """Evenly spaced levels between minimum and maximum."""

    def scheme(sample: Sample, bits: int) -> Outcome:
        groups = Groups.of(sample.flat, size)
        return Outcome(groups.mean(stochastic(groups, bits)), total(bits, size))

    return scheme


def dither(phases: int) -> Scheme:
    """Subtractive dither in all groups."""

    def scheme(sample: Sample, bits: int) -> Outcome:
        groups = Groups.of(sample.flat)
        return Outcome(groups.mean(dithered(groups, bits, phases)), total(bits))

    return scheme


def choice(phases: int) -> Scheme:
    """In each group the better of subtractive dither and plain stochastic rounding, told by a spare bit of metadata."""

    def scheme(sample: Sample, bits: int) -> Outcome:
        groups = Groups.of(sample.flat)
        return Outcome(groups.mean(_better(groups, bits, phases)), total(bits))

    return scheme


def guess(phases: int, looked_at: int) -> Scheme:
    """The choice by the first few elements of the group, as a kernel makes it that has no time for the rest.

    Plain rounding is taken where its variance over them is below what dither has on average over places.
    """

    def scheme(sample: Sample, bits: int) -> Outcome:
        groups = Groups.of(sample.flat)
        plain, shared = stochastic(groups, bits), dithered(groups, bits, phases)
        usual = (phases**2 + 1) / (12 * (phases * (2**bits - 1)) ** 2)
        is_plain = plain[:, :looked_at].mean(1, keepdim=True) < usual
        return Outcome(groups.mean(torch.where(is_plain, plain, shared)), total(bits))

    return scheme


def _better(groups: Groups, bits: int, phases: int) -> Tensor:
    ways = (dithered(groups, bits, phases), stochastic(groups, bits))
    return torch.minimum(*(way.mean(1, keepdim=True) for way in ways))


def short_metadata(size: int, phases: int) -> Scheme:
    """Small groups with 8 bits of extent and 8 of minimum, and the choice of dither where there are several phases.

    The extent has 4 bits of mantissa and is rounded up; the minimum counts 64ths of the rounded extent. Groups whose
    minimum is beyond that range get 16 bits more.
    """

    def scheme(sample: Sample, bits: int) -> Outcome:
        rows, low, extent = rows_and_bounds(sample.flat, size)
        extent = extent.clamp_min(1e-30)
        unit = _four_bits_up(extent)
        steps = (low / unit * 64).floor()
        floor = torch.where(steps.abs() < 128, steps / 64 * unit, low)
        groups = Groups.between(rows, floor, _four_bits_up((low + extent - floor).clamp_min(1e-30)))
        wide = float((steps.abs() >= 128).double().mean())
        return Outcome(groups.mean(_better(groups, bits, phases)), bits + (16 + 16 * wide) / size)

    return scheme


def _four_bits_up(positive: Tensor) -> Tensor:
    power = positive.log2().floor().exp2()
    return (positive / power * 16).ceil() / 16 * power


def fitted() -> Scheme:
    """A table per tensor; its levels are stored once and not counted."""

    def scheme(sample: Sample, bits: int) -> Outcome:
        groups = Groups.of(sample.flat)
        table = fit_table(histogram(groups.position, groups.extent.square()), 2**bits)
        return Outcome(groups.mean(_table_variance(groups, table)), total(bits))

    return scheme


def gaussian() -> Scheme:
    """One table for all tensors, made for normal values."""

    def scheme(sample: Sample, bits: int) -> Outcome:
        groups = Groups.of(sample.flat)
        return Outcome(groups.mean(_table_variance(groups, gaussian_table(bits, SIZE))), total(bits))

    return scheme


def _table_variance(groups: Groups, table: Tensor) -> Tensor:
    below = torch.bucketize(groups.position, table[1:-1].contiguous(), right=True)
    return (groups.position - table[below]) * (table[below + 1] - groups.position)


def fitted_dither(phases: int) -> Scheme:
    """A table per tensor, made for subtractive dither."""

    def scheme(sample: Sample, bits: int) -> Outcome:
        groups = Groups.of(sample.flat)
        points = fit_dithered_table(histogram(groups.position, groups.extent.square()), bits, phases)
        return Outcome(groups.mean(dithered_variance(groups.position, points, phases)), total(bits))

    return scheme


def outliers(count: int) -> Scheme:
    """The values furthest from the median kept beside the codes, each with 16 bits and 8 bits of index."""

    def scheme(sample: Sample, bits: int) -> Outcome:
        rows, _, _ = rows_and_bounds(sample.flat, SIZE)
        middle = rows.median(1, keepdim=True).values
        furthest = (rows - middle).abs().topk(count, dim=1).indices
        groups = Groups.of(rows.scatter(1, furthest, middle.expand(-1, count)).flatten())
        return Outcome(groups.mean(stochastic(groups, bits)), total(bits, more=24 * count))

    return scheme


def hadamard(size: int) -> Scheme:
    """Each run of ``size`` values rotated by a Hadamard matrix first; a rotation keeps the variance."""

    def scheme(sample: Sample, bits: int) -> Outcome:
        runs = sample.flat[: sample.flat.numel() // size * size].view(-1, size)
        groups = Groups.of((runs @ _hadamard_matrix(size)).flatten())
        return Outcome(groups.mean(stochastic(groups, bits)), total(bits))

    return scheme


@cache
def _hadamard_matrix(size: int) -> Tensor:
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while matrix.shape[0] < size:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix / math.sqrt(size)


def first_axis() -> Scheme:
    """Groups along the first axis of memory: the same channel of many tokens; plain where there are too few."""

    def scheme(sample: Sample, bits: int) -> Outcome:
        groups = Groups.of(sample.by_column if sample.rows >= SIZE else sample.flat)
        return Outcome(groups.mean(stochastic(groups, bits)), total(bits))

    return scheme


def scaled() -> Scheme:
    """Columns and then rows divided by their root mean squares, 16 bits for each, before groups are cut."""

    def scheme(sample: Sample, bits: int) -> Outcome:
        matrix = sample.matrix
        columns = _size(matrix, 0)
        scales = columns * _size(matrix / columns, 1)
        groups = Groups.of((matrix / scales).flatten())
        back, _, _ = rows_and_bounds(scales.flatten(), SIZE)
        variance = float((stochastic(groups, bits) * (groups.extent * back).square()).mean())
        return Outcome(variance, total(bits) + 16 * sum(matrix.shape) / matrix.numel())

    return scheme


def _size(matrix: Tensor, dim: int) -> Tensor:
    size = matrix.square().mean(dim, keepdim=True).sqrt()
    return torch.where(size > 0, size, 1.0)


BASELINE = uniform()
SCHEMES: Mapping[str, Scheme] = {
    "groups of 64": uniform(64),
    "groups of 128": uniform(128),
    "groups of 512": uniform(512),
    "groups of 128, 16-bit metadata": short_metadata(128, 1),
    "fitted table": fitted(),
    "gaussian table": gaussian(),
    "dither, 1 shared bit": dither(2),
    "dither, 2 shared bits": dither(4),
    "dither, 3 shared bits": dither(8),
    "dither or plain, 1 shared bit": choice(2),
    "dither or plain, 2 shared bits": choice(4),
    "dither or plain, 3 shared bits": choice(8),
    "dither or plain by 32 elements, 2 shared bits": guess(4, 32),
    "fitted table, 2 shared bits": fitted_dither(4),
    "dither or plain, groups of 128, 16-bit metadata": short_metadata(128, 4),
    "1 outlier": outliers(1),
    "2 outliers": outliers(2),
    "4 outliers": outliers(4),
    "hadamard 16": hadamard(16),
    "hadamard 64": hadamard(64),
    "columns and rows scaled": scaled(),
    "groups along the first axis": first_axis(),
}
