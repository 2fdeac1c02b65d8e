"""Quantize and dequantize against a copy of the same tensor, at every width and dtype."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ..codec_calls import (
    GROUP_SIZE,
    ROUNDINGS,
    allocator_config,
    dequantizer,
    dequantizer_into,
    memory_used_again,
    nbytes,
    quantizer,
)
from ..options import Options
from ..rows import Row
from ..timing import Call, take_turns

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SIZES = {"64 MiB": 2**26, "4 MiB": 2**22, "256 KiB": 2**18}
WIDTHS = tuple(range(1, 9))
ROUNDS = 15
LEAST_SECONDS = 20e-3


def run(options: Options) -> Iterator[Row]:
    """Copies first, then every width.

    Ratios are to ``y.copy_(x)`` of the same tensor. ``gbps`` counts the bytes that are read and written, so that of the
    copy is the bandwidth there is; ``limit`` in the configuration is the ratio of a codec that runs at that bandwidth.
    """
    sizes = options.pick(SIZES, {"16 KiB": 2**14})
    for (name, size), dtype in product(sizes.items(), DTYPES):
        config: dict[str, Any] = {"size": name, "dtype": str(dtype).removeprefix("torch."), **allocator_config()}
        if not options.wants(config):
            continue
        x = torch.randn(size // dtype.itemsize, generator=torch.Generator().manual_seed(0)).to(dtype)
        yield from _copies(x, config, options)
        for bits in options.pick(WIDTHS, (3, 8)):
            if options.wants({"bits": bits}):
                yield from _width(x, bits, {**config, "bits": bits, "group_size": GROUP_SIZE}, options)


def _copies(x: Tensor, config: dict[str, Any], options: Options) -> Iterator[Row]:
    """The copy by itself, and what the same copy costs in fresh memory."""
    yield from _against_copy("clone", x.clone, x, 2 * x.nbytes, config, options, copy_too=True)


def _width(x: Tensor, bits: int, config: dict[str, Any], options: Options) -> Iterator[Row]:
    code = quantizer(x, bits)()
    moved = x.nbytes + nbytes(code)
    config["limit"] = round(moved / (2 * x.nbytes), 4)
    for rounding in ROUNDINGS:
        if options.wants({"rounding": rounding}):
            call = quantizer(x, bits, rounding)
            with memory_used_again():
                yield from _against_copy("quantize", call, x, moved, {**config, "rounding": rounding}, options)
    into = dequantizer_into(torch.empty_like(x), code, bits)
    yield from _against_copy("dequantize_into", into, x, moved, config, options)
    yield from _against_copy("dequantize", dequantizer(code, x, bits), x, moved, config, options)


def _against_copy(
    way: str, call: Call, x: Tensor, moved: int, config: dict[str, Any], options: Options, copy_too: bool = False
) -> Iterator[Row]:
    """Pairs of a copy and a way that moves so many bytes."""
    y = torch.empty_like(x)
    ways = {"copy": lambda: y.copy_(x), way: call}
    samples = take_turns(ways, options.pick(ROUNDS, 2), options.pick(LEAST_SECONDS, 0.0))
    if copy_too:
        yield Row("copy", "gbps", samples.rate("copy", 2 * x.nbytes / 1e9), config)
    yield Row(way, "ratio_to_copy", samples.ratio(way, "copy"), config)
    yield Row(way, "gbps", samples.rate(way, moved / 1e9), config)
