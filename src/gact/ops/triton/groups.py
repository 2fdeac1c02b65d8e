"""The group code on the device: the operators ``quantize``, ``dequantize`` and ``dequantize_into``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import checks
from .dequantize import dequantize_kernel
from .launch import elements, launch, pairs
from .quantize import quantize_kernel


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
    constants = {"BITS": bits, "GROUP": group_size, "ROUNDING": checks.ROUNDINGS[rounding]}
    launch(quantize_kernel, tensors, (seed,), numel, **constants)
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


KERNELS = (quantize, dequantize, dequantize_into)
