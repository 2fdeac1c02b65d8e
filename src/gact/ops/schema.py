"""Schemas and fakes of the operators; what they compute is specified in ``docs/codes.md``.

The kernels are elsewhere: ``reference/`` (plain torch, any device) and ``csrc/`` (C++, CPU).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import checks

SCHEMAS = (
    "quantize(Tensor x, int bits, int group_size, int seed, int rounding) -> (Tensor codes, Tensor metadata)",
    "dequantize(Tensor codes, Tensor metadata, int bits, int group_size, SymInt[] size, SymInt[] stride, "
    "ScalarType dtype, int seed=0) -> Tensor",
    "dequantize_into(Tensor(a!) out, Tensor codes, Tensor metadata, int bits, int group_size, int seed=0) -> ()",
    "rebuild_into(Tensor(a!) out, Tensor codes, Tensor metadata, int bits, int group_size, int seed, Tensor[] lines, "
    "SymInt[] inner, Tensor? mask, float on, bool add) -> ()",
    "rebuild_sum_into(Tensor(a!) out, Tensor[] codes, Tensor[] metadata, int[] bits, int[] group_size, int[] seed, "
    "Tensor[] lines, SymInt[] inner, int[] line_count, Tensor?[] mask, float[] on, bool add) -> ()",
    "count_poisoned(Tensor metadata) -> SymInt",
    "correct_squares_(Tensor(a!) x, Tensor metadata, int group_size, float middle, float variance) -> ()",
    "bend_into(Tensor(a!) out, Tensor x, float before, float square, float weight, float after) -> ()",
    "encode_mask(Tensor x, float low, float high) -> Tensor",
    "decode_mask_into(Tensor(a!) out, Tensor codes, float off, float on) -> ()",
    "apply_mask_(Tensor(a!) x, Tensor codes, float off, float on) -> ()",
    "encode_integers(Tensor x, int minimum, int bits) -> Tensor",
    "decode_integers_into(Tensor(a!) out, Tensor codes, int minimum, int bits) -> ()",
)
NAMES = tuple(schema.partition("(")[0] for schema in SCHEMAS)

LIBRARY = torch.library.Library("gact", "DEF")


def _fake_quantize(x: Tensor, bits: int, group_size: int, seed: int, rounding: int) -> tuple[Tensor, Tensor]:
    checks.check_code(bits, group_size)
    checks.check_rounding(rounding)
    checks.check_dtype(x.dtype)
    numel = x.numel()
    codes = x.new_empty((checks.code_bytes(numel, bits),), dtype=torch.uint8)
    return codes, x.new_empty((checks.group_count(numel, group_size), 2), dtype=checks.metadata_dtype(x.dtype))


def _fake_dequantize(
    codes: Tensor,
    metadata: Tensor,
    bits: int,
    group_size: int,
    size: Sequence[int],
    stride: Sequence[int],
    dtype: torch.dtype,
    seed: int = 0,
) -> Tensor:
    checks.check_code(bits, group_size)
    checks.check_dtype(dtype)
    return codes.new_empty_strided(size, stride, dtype=dtype)


def _fake_dequantize_into(
    out: Tensor, codes: Tensor, metadata: Tensor, bits: int, group_size: int, seed: int = 0
) -> None:
    checks.check_code(bits, group_size)
    checks.check_dtype(out.dtype)


def _fake_rebuild_into(
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
    checks.check_code(bits, group_size)
    checks.check_rebuilt_dtype(out.dtype)


def _fake_rebuild_sum_into(out: Tensor, *terms: Any) -> None:
    for term in checks.terms_of_sum(*terms):
        _fake_rebuild_into(out, *term)


def _fake_count_poisoned(metadata: Tensor) -> int | torch.SymInt:
    return torch.library.get_ctx().new_dynamic_size()


def _fake_correct_squares_(x: Tensor, metadata: Tensor, group_size: int, middle: float, variance: float) -> None:
    checks.check_code(1, group_size)
    checks.check_dtype(x.dtype)


def _fake_bend_into(out: Tensor, x: Tensor, before: float, square: float, weight: float, after: float) -> None:
    checks.check_bend(out, x)


def _fake_encode_mask(x: Tensor, low: float, high: float) -> Tensor:
    checks.check_mask_dtype(x.dtype)
    return x.new_empty((checks.code_bytes(x.numel(), 1),), dtype=torch.uint8)


def _fake_decode_mask_into(out: Tensor, codes: Tensor, off: float, on: float) -> None:
    checks.check_mask_dtype(out.dtype)


def _fake_apply_mask_(x: Tensor, codes: Tensor, off: float, on: float) -> None:
    checks.check_dtype(x.dtype)


def _fake_encode_integers(x: Tensor, minimum: int, bits: int) -> Tensor:
    checks.check_integers(bits, x.dtype)
    return x.new_empty((checks.code_bytes(x.numel(), bits),), dtype=torch.uint8)


def _fake_decode_integers_into(out: Tensor, codes: Tensor, minimum: int, bits: int) -> None:
    checks.check_integers(bits, out.dtype)


def define() -> None:
    """Define the operators and their fakes, and keep autograd out: codes have no gradient."""
    for schema, name in zip(SCHEMAS, NAMES, strict=True):
        LIBRARY.define(schema)
        torch.library.register_fake(f"gact::{name}", globals()[f"_fake_{name}"], lib=LIBRARY)
        LIBRARY.impl(name, torch.library.fallthrough_kernel, "Autograd")


def register(kernels: Iterable[Callable[..., Any]]) -> None:
    """Make functions the kernels, for operators of their names, of every device that has no better ones."""
    for kernel in kernels:
        LIBRARY.impl(kernel.__name__, kernel, "CompositeExplicitAutograd")
