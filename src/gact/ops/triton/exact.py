"""The exact codes on the device: the operators of masks and integers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import checks
from .integers import decode_integers_kernel, encode_integers_kernel
from .launch import elements, launch, number_bits, rounded
from .masks import decode_mask_kernel, encode_mask_kernel

_WORDS = {16: torch.int16, 32: torch.int32}


def _bounds(low: float, high: float, dtype: torch.dtype) -> tuple[float, float]:
    """Bounds that divide the values of a dtype as the given ones do, and that float32 has (float64 for float64)."""
    if dtype != torch.bool:
        return rounded(low, dtype), rounded(high, dtype)
    if math.isnan(low) or math.isnan(high):
        return math.nan, math.nan
    return math.floor(min(max(low, -1.0), 1.0)), math.ceil(min(max(high, 0.0), 2.0))


@torch.no_grad()
def encode_mask(x: Tensor, low: float, high: float) -> Tensor:
    """One bit per element; arguments and result are those of ``reference_exact.encode_mask``."""
    checks.check_mask_dtype(x.dtype)
    x = x if checks.is_dense(x.shape, x.stride()) else x.clone()
    codes = torch.empty(checks.code_bytes(x.numel(), 1), dtype=torch.uint8, device=x.device)
    bounds = [number_bits(bound) for bound in _bounds(low, high, x.dtype)]
    launch(encode_mask_kernel, (elements(x), codes), tuple(bounds), x.numel(), GROUP=checks.EXACT_GROUP)
    return codes


def _select(out: Tensor, codes: Tensor, off: float, on: float, apply: bool) -> None:
    checks.check_bytes(codes, "codes", checks.code_bytes(out.numel(), 1))
    factors = (number_bits(rounded(off, out.dtype)), number_bits(rounded(on, out.dtype)))
    erase = apply and rounded(off, out.dtype) == 0
    constants = {"APPLY": apply, "ERASE": erase, "GROUP": checks.EXACT_GROUP}
    launch(decode_mask_kernel, (elements(out), codes), factors, out.numel(), **constants)


@torch.no_grad()
def decode_mask_into(out: Tensor, codes: Tensor, off: float, on: float) -> None:
    """One of two values per bit; arguments are those of ``reference_exact.decode_mask_into``."""
    checks.check_mask_dtype(out.dtype)
    checks.check_dense(out, "out")
    _select(out, codes, off, on, apply=False)


@torch.no_grad()
def apply_mask_(x: Tensor, codes: Tensor, off: float, on: float) -> None:
    """Multiply by a mask in place; arguments are those of ``reference_exact.apply_mask_``."""
    checks.check_dtype(x.dtype)
    checks.check_dense(x, "x")
    _select(x, codes, off, on, apply=True)


def _words(codes: Tensor, bits: int) -> Tensor:
    """Codes as the kernels take them; a copy if words of 16 or 32 bits are not aligned in memory."""
    if bits not in _WORDS:
        return codes
    size = bits // 8
    aligned = codes.data_ptr() % size == 0 and codes.storage_offset() % size == 0
    return (codes if aligned else codes.clone()).view(_WORDS[bits])


def encode_integers(x: Tensor, minimum: int, bits: int) -> Tensor:
    """Offsets from a minimum; arguments and result are those of ``reference_exact.encode_integers``."""
    checks.check_integers(bits, x.dtype)
    x = x if checks.is_dense(x.shape, x.stride()) else x.clone()
    codes = torch.empty(checks.code_bytes(x.numel(), bits), dtype=torch.uint8, device=x.device)
    tensors = (x, _words(codes, bits))
    launch(encode_integers_kernel, tensors, (minimum,), x.numel(), BITS=bits, GROUP=checks.EXACT_GROUP)
    return codes


def decode_integers_into(out: Tensor, codes: Tensor, minimum: int, bits: int) -> None:
    """The inverse; arguments are those of ``reference_exact.decode_integers_into``."""
    checks.check_integers(bits, out.dtype)
    checks.check_dense(out, "out")
    checks.check_bytes(codes, "codes", checks.code_bytes(out.numel(), bits))
    tensors = (out, _words(codes, bits))
    launch(decode_integers_kernel, tensors, (minimum,), out.numel(), BITS=bits, GROUP=checks.EXACT_GROUP)


KERNELS = (
    encode_mask,
    decode_mask_into,
    apply_mask_,
    encode_integers,
    decode_integers_into,
)
