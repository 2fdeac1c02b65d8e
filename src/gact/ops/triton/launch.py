"""Launching kernels: how many groups a program takes, on which device, and the tensors as the kernels expect them."""

from __future__ import annotations

import contextlib
import functools
import struct
from typing import Any

import torch
import triton
from torch import Tensor

THREADS = 128
ACCESS_BYTES = 16
_IS_CRAMPED = triton.__version__.startswith("3.7.")
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def rows_per_program(group_size: int, itemsize: int) -> int:
    """Groups of a program, so that each thread accesses 16 bytes of every section, less where one is shorter."""
    eighth = group_size // 8
    elements = min(ACCESS_BYTES // itemsize, eighth)
    return max(THREADS * elements // eighth, 1)


def itemsize_of_encoding(itemsize: int, bits: int) -> int:
    """Bytes of an element as the tile of an encoding kernel is determined.

    The compiler of Triton 3.7, which torch 2.13 comes with, gives threads that encode 16 bytes of each section 228 to
    254 registers where elements have two bytes and codes not 4 to 6 bits, so that two programs run at once and not
    four. There they take 8 bytes.

    Args:
        itemsize: Bytes of an element.
        bits: Width of a code.
    """
    return 2 * itemsize if _IS_CRAMPED and itemsize == 2 and not 4 <= bits <= 6 else itemsize


@functools.cache
def _lanes(index: int) -> int:
    """Threads of a warp on the current device: 32, or 64 on some of AMD's."""
    return int(triton.runtime.driver.active.get_current_target().warp_size)


def warps(device: torch.device) -> int:
    """Warps of a program with ``THREADS`` threads."""
    return THREADS // 32 if device.type == "cpu" else THREADS // _lanes(device.index or 0)


def launch(
    kernel: Any,
    tensors: tuple[Tensor, ...],
    scalars: tuple[int, ...],
    numel: int,
    itemsize: int | None = None,
    **constants: Any,
) -> None:
    """Run a kernel over the full groups of some elements, and once more over the short last group if there is one.

    Nothing waits for the device. There is no autotuning: a tile is determined by the group size and the element size.

    Args:
        kernel: Takes the tensors, the number of full groups, the length of the short group, the scalars, the constants.
        tensors: As the kernel takes them, the elements first.
        scalars: Further runtime arguments, any int64.
        numel: Elements, more than 2^31 if need be.
        itemsize: Bytes of an element as the tile is determined; those of the elements themselves unless given.
        constants: Compile-time arguments, ``GROUP`` among them.
    """
    device, group = tensors[0].device, constants["GROUP"]
    groups, length = divmod(numel, group)
    rows = rows_per_program(group, itemsize or tensors[0].element_size())
    on = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    with on:
        options = {"num_warps": warps(device), "enable_fp_fusion": False}
        if groups:
            grid = (-(-groups // rows),)
            kernel[grid](*tensors, groups, 0, *scalars, **constants, ROWS=rows, TAIL=False, **options)
        if length:
            kernel[(1,)](*tensors, groups, length, *scalars, **constants, ROWS=1, TAIL=True, **options)


def elements(x: Tensor) -> Tensor:
    """A dense tensor as the kernels take it: bfloat16 as int16, bool as uint8."""
    if x.dtype == torch.bfloat16:
        return x.view(torch.int16)
    return x.view(torch.uint8) if x.dtype == torch.bool else x


def pairs(metadata: Tensor) -> Tensor:
    """Contiguous metadata with both fields of a group as one integer; a copy if memory is not aligned for that."""
    size = 2 * metadata.element_size()
    aligned = metadata if metadata.data_ptr() % size == 0 and metadata.storage_offset() % 2 == 0 else metadata.clone()
    return aligned.view(_INTEGERS[size])


def rounded(value: float, dtype: torch.dtype) -> float:
    """A number in a dtype, the halves by way of float32; for bool, 1 unless it is 0."""
    number = torch.tensor(value, dtype=torch.float64)
    return float((number if dtype in (torch.float64, torch.bool) else number.float()).to(dtype).item())


def number_bits(value: float) -> int:
    """The bits of a number as float64, as which it travels to a kernel."""
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits
