"""The group code on the device: ``quantize``, ``dequantize``, ``dequantize_into`` and ``rebuild_into``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import checks
from .dequantize import dequantize_kernel
from .launch import elements, itemsize_of_encoding, launch, number_bits, pairs, rounded
from .quantize import quantize_kernel
from .rebuild import ITEMSIZE, rebuild_kernel, walk_of


@torch.no_grad()
def quantize(x: Tensor, bits: int, group_size: int, seed: int, rounding: int) -> tuple[Tensor, Tensor]:
    """Codes and metadata of a tensor; arguments and results are those of ``reference.quantize``."""
    checks.check_code(bits, group_size)
    checks.check_rounding(rounding)
    checks.check_dtype(x.dtype)
    x = x if checks.is_dense(x.shape, x.stride()) else x.clone()
    numel = x.numel()
    codes = torch.empty(checks.code_bytes(numel, bits), dtype=torch.uint8, device=x.device)
    shape = (checks.group_count(numel, group_size), 2)
    metadata = torch.empty(shape, dtype=checks.metadata_dtype(x.dtype), device=x.device)
    tensors = (elements(x), codes, pairs(metadata))
    itemsize, how = itemsize_of_encoding(x.element_size(), bits), checks.ROUNDINGS[rounding]
    launch(quantize_kernel, tensors, (seed,), numel, itemsize, BITS=bits, GROUP=group_size, ROUNDING=how)
    return codes, metadata


@torch.no_grad()
def dequantize_into(out: Tensor, codes: Tensor, metadata: Tensor, bits: int, group_size: int, seed: int = 0) -> None:
    """Decode into a dense tensor; arguments are those of ``reference.dequantize_into``."""
    checks.check_code(bits, group_size)
    checks.check_dtype(out.dtype)
    checks.check_dense(out, "out")
    checks.check_bytes(codes, "codes", checks.code_bytes(out.numel(), bits))
    checks.check_metadata(metadata, checks.group_count(out.numel(), group_size))
    tensors = (elements(out), codes, pairs(metadata))
    launch(dequantize_kernel, tensors, (seed,), out.numel(), BITS=bits, GROUP=group_size)


def dequantize(
    codes: Tensor,
    metadata: Tensor,
    bits: int,
    group_size: int,
    size: Sequence[int],
    stride: Sequence[int],
    dtype: torch.dtype,
    seed: int = 0,
) -> Tensor:
    """Decode into a fresh tensor; arguments and result are those of ``reference.dequantize``."""
    checks.check_dtype(dtype)
    checks.check_layout(size, stride)
    out = torch.empty_strided(size, stride, dtype=dtype, device=codes.device)
    dequantize_into(out, codes, metadata, bits, group_size, seed)
    return out


@torch.no_grad()
def rebuild_into(
    out: Tensor,
    codes: Tensor,
    metadata: Tensor,
    bits: int,
    group_size: int,
    seed: int,
    lines: Sequence[Tensor],
    inner: Sequence[int],
    mask: Tensor | None,
    on: float,
    add: bool,
) -> None:
    """Decode, apply lines, add, apply a mask; arguments are those of ``reference_rebuild.rebuild_into``."""
    checks.check_rebuild(out, codes, metadata, bits, group_size, lines, inner, mask)
    channels = [(line.shape[1], neighbours) for line, neighbours in zip(lines, inner, strict=True)]
    walks = [walk_of(*each, group_size) for each in channels]
    missing = 2 - len(lines)
    # What a kernel does not read needs a pointer all the same.
    tensors = (elements(out), codes, pairs(metadata), *lines, *[codes] * missing, codes if mask is None else mask)
    factor = number_bits(rounded(on, out.dtype))
    scalars = (seed, factor, out.numel(), *itertools.chain(*channels, *[(1, 1)] * missing))
    walk0, walk1 = (*walks, *[""] * missing)
    how: dict[str, Any] = {"WALK0": walk0, "WALK1": walk1, "MASK": mask is not None, "ADD": add}
    launch(rebuild_kernel, tensors, scalars, out.numel(), itemsize=ITEMSIZE, BITS=bits, GROUP=group_size, **how)


def rebuild_sum_into(out: Tensor, *terms: Any) -> None:
    """A launch for each term; arguments are those of ``reference_rebuild.rebuild_sum_into``."""
    for term in checks.terms_of_sum(*terms):
        rebuild_into(out, *term)


KERNELS = (quantize, dequantize, dequantize_into, rebuild_into, rebuild_sum_into)
