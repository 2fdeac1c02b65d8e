"""The operators as torch sees them: schemas, fakes, layouts, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import op_cases
import pytest
import torch
from torch import Tensor

from gact.ops import schema
from gact.ops.reference import bends as reference_bends
from gact.ops.reference import exact as reference_exact
from gact.ops.reference import groups as reference
from gact.ops.reference import rebuild as reference_rebuild
from gact.ops.reference import squares as reference_squares

KERNELS = {
    kernel.__name__: kernel
    for room in (reference, reference_bends, reference_exact, reference_rebuild, reference_squares)
    for kernel in room.KERNELS
}
OPS = {name: getattr(torch.ops.gact, name).default for name in schema.NAMES}


def samples() -> list[tuple[str, tuple[Any, ...]]]:
    x = op_cases.random(300, torch.float32).view(10, 5, 6)
    codes, metadata = OPS["quantize"](x, 3, 64, 1, True)
    wide = OPS["quantize"](x.double(), 8, 32, 1, False)
    images = x.view(2, 5, 5, 6).to(memory_format=torch.channels_last)
    return [
        ("quantize", (x, 3, 64, 1, True)),
        ("quantize", (x.bfloat16()[:, ::2], 8, 32, -1, False)),
        ("quantize", (images.half(), 1, 1024, -1, False)),
        ("quantize", (torch.empty(0, 3, dtype=torch.float64), 1, 32, 0, True)),
        ("quantize", (x.clone().requires_grad_(), 4, 256, 0, True)),
        ("dequantize", (codes, metadata, 3, 64, x.shape, x.stride(), torch.float32)),
        ("dequantize", (codes, metadata, 3, 64, images.shape, images.stride(), torch.bfloat16)),
        ("dequantize", (*wide, 8, 32, [300], [1], torch.float64)),
        ("dequantize", (codes[:0], metadata[:0], 3, 64, [0], [1], torch.float16)),
        ("dequantize_into", (torch.zeros(300), codes, metadata, 3, 64)),
        *rebuild_samples(),
        ("count_poisoned", (metadata,)),
        ("count_poisoned", (wide[1],)),
        ("correct_squares_", (x.clone(), metadata, 64, 0.5, 0.1)),
        ("bend_into", (x.clone(), x, -1.25, 0.5, 0.45, 0.0)),
        ("bend_into", (x.clone(), x.bfloat16(), 0.0, 0.5, -4.5, -1.25)),
        ("bend_into", (x.double(), x.double(), 1.0, 2.0, 0.5, 0.25)),
        *exact_samples(x, images),
    ]


def rebuild_samples() -> list[tuple[str, tuple[Any, ...]]]:
    cases = [
        op_cases.rebuild_case(300, torch.float32, (3, 64), ((3, 20),), mask=True, add=True),
        op_cases.rebuild_case(300, torch.bfloat16, (8, 32), ((10, 30), (30, 1)), mask=False, add=False),
        op_cases.rebuild_case(300, torch.float16, (4, 256), (), mask=True, add=False),
    ]
    same = [case for case in cases if case.out.dtype == torch.float32]
    other = op_cases.rebuild_case(300, torch.float32, (4, 256), (), mask=False, add=True)
    both = op_cases.sum_case([*same, other])
    return [
        *(("rebuild_into", (case.out, *case.arguments)) for case in cases),
        ("rebuild_sum_into", (both.out, *both.arguments)),
    ]


def exact_samples(x: Tensor, images: Tensor) -> list[tuple[str, tuple[Any, ...]]]:
    mask, indices = torch.zeros(40, dtype=torch.uint8), torch.arange(-7, 293).view(10, 30)
    return [
        ("encode_mask", (x, 0.0, math.inf)),
        ("encode_mask", (images.bfloat16(), -1.0, 1.0)),
        ("encode_mask", (x[:, ::2] > 0, 0.0, math.inf)),
        ("encode_mask", (torch.empty(0), 0.0, math.inf)),
        ("decode_mask_into", (images.half(), mask, 0.0, 2.0)),
        ("decode_mask_into", (torch.zeros(300, dtype=torch.bool), mask, 0.0, 1.0)),
        ("decode_mask_into", (images.clone(), mask, 0.0, 2.0)),
        ("apply_mask_", (x.clone(), mask, 0.0, 2.0)),
        ("encode_integers", (indices, -7, 16)),
        ("encode_integers", (indices.to(torch.int8)[:, 1::3], -128, 8)),
        ("decode_integers_into", (torch.zeros(300, dtype=torch.int64), mask, -3, 1)),
        ("decode_integers_into", (torch.zeros(300, dtype=torch.int16), mask, -3, 1)),
        ("decode_integers_into", (torch.zeros(15, 4, 5, dtype=torch.int8).permute(2, 1, 0), mask, 5, 1)),
    ]


@pytest.mark.parametrize("index", range(len(samples())))
def test_opcheck(index: int) -> None:
    name, arguments = samples()[index]
    torch.library.opcheck(OPS[name], arguments)


@pytest.mark.parametrize("index", range(len(samples())))
def test_fake_has_the_layout_of_the_real(index: int) -> None:
    name, arguments = samples()[index]
    if name == "count_poisoned":
        pytest.skip("no tensor comes out")
    real = OPS[name](*arguments)
    fake = OPS[name](*(a.to("meta") if isinstance(a, Tensor) else a for a in arguments))
    for a, b in zip(*((out if isinstance(out, tuple) else (out,)) for out in (real, fake)), strict=True):
        if a is not None:
            assert (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)


LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(0, 2),
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "offset": lambda x: x[1:],
    "sliced": lambda x: x[:, :, ::2, 1:],
    "expanded": lambda x: x[:1, :1].expand(4, 3, 6, 8),
    "flipped": lambda x: x.flip(1),
    "scalar": lambda x: x[0, 0, 0, 0],
    "size one with an odd stride": lambda x: x[:, :1].as_strided((4, 1, 6, 8), (48, 7, 8, 1)),
    "empty": lambda x: x[:0],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str) -> None:
    """Codes are those of the elements in the memory order of empty_like; the result has its stride."""
    x = LAYOUTS[name](op_cases.random(4 * 3 * 6 * 8, torch.float32).view(4, 3, 6, 8))
    dense = torch.empty_like(x).copy_(x)
    flat = dense.as_strided((x.numel(),), (1,))
    stride = dense.stride()
    for quantize, dequantize in ((OPS["quantize"], OPS["dequantize"]), (reference.quantize, reference.dequantize)):
        codes, metadata = quantize(x, 8, 64, 0, False)
        assert torch.equal(codes, quantize(flat, 8, 64, 0, False)[0])
        back = dequantize(codes, metadata, 8, 64, x.shape, stride, x.dtype)
        assert back.stride() == stride
        torch.testing.assert_close(back, x, atol=0.05, rtol=0)


def test_no_gradient_flows() -> None:
    x = op_cases.random(64, torch.float32).requires_grad_()
    for kernel in (OPS["quantize"], reference.quantize):
        codes, metadata = kernel(x, 8, 32, 0, True)
        assert not codes.requires_grad
        assert not metadata.requires_grad


X = torch.ones(64)
CODES, METADATA = torch.zeros(32, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.bfloat16)
INTS = torch.zeros(64, dtype=torch.int32)
DEQUANTIZE = (CODES, METADATA, 4, 32, [64], [1], torch.float32)


def changed(arguments: tuple[Any, ...], **changes: Any) -> tuple[Any, ...]:
    return tuple(changes.get(f"_{i}", argument) for i, argument in enumerate(arguments))


LINE = torch.ones(2, 4)
REBUILD = (torch.zeros(64), CODES, METADATA, 4, 32, 0, [LINE], [16], None, 1.0, False)
MASK = torch.zeros(8, dtype=torch.uint8)
SUM = (X, [CODES] * 2, [METADATA] * 2, [4, 4], [32, 32], [0, 0], [LINE], [16], [1, 0], [None, MASK], [1.0, 1.0], False)


REFUSED = [
    ("quantize", (X, 0, 32, 0, True), r"bits must be a whole number from 1 to 8, got 0\."),
    ("quantize", (X, 9, 32, 0, True), r"bits must be a whole number from 1 to 8, got 9\."),
    ("quantize", (X, 4, 48, 0, True), r"group_size must be a power of two from 32 to 1024, got 48\."),
    ("quantize", (X, 4, 2048, 0, True), r"group_size must be a power of two from 32 to 1024, got 2048\."),
    ("quantize", (X.int(), 4, 32, 0, True), r"dtype must be float32, float16, bfloat16 or float64, got"),
    ("quantize", (X.to(torch.complex64), 4, 32, 0, True), r"dtype must be .* Convert the tensor first"),
    ("dequantize", changed(DEQUANTIZE, _2=12), r"bits must be a whole number from 1 to 8, got 12\."),
    ("dequantize", changed(DEQUANTIZE, _3=33), r"group_size must be .* got 33\."),
    ("dequantize", changed(DEQUANTIZE, _6=torch.int32), r"dtype must be float32"),
    ("dequantize", changed(DEQUANTIZE, _4=[65]), r"codes must have 48 bytes .* got 32\."),
    ("dequantize", changed(DEQUANTIZE, _0=CODES.int()), r"codes must be a contiguous one-dimensional uint8 tensor"),
    ("dequantize", changed(DEQUANTIZE, _0=torch.zeros(64, dtype=torch.uint8)[::2]), r"codes must be a contiguous"),
    ("dequantize", changed(DEQUANTIZE, _1=METADATA.half()), r"metadata must be bfloat16"),
    ("dequantize", changed(DEQUANTIZE, _1=METADATA[:1]), r"metadata must be contiguous with shape \[2, 2\]"),
    ("dequantize", changed(DEQUANTIZE, _1=METADATA.t()), r"metadata must be contiguous with shape \[2, 2\]"),
    ("dequantize", changed(DEQUANTIZE, _4=[8, 8], _5=[8, 2]), r"size and stride must describe a tensor without gaps"),
    ("dequantize", changed(DEQUANTIZE, _4=[8, 8], _5=[0, 1]), r"Use the stride of torch\.empty_like\(x\)"),
    ("dequantize", changed(DEQUANTIZE, _4=[8, 8]), r"size and stride must describe"),
    ("dequantize_into", (torch.zeros(128)[::2], CODES, METADATA, 4, 32), r"out must be a tensor without gaps"),
    ("dequantize_into", (X.int(), CODES, METADATA, 4, 32), r"dtype must be float32"),
    ("rebuild_into", changed(REBUILD, _3=9), r"bits must be a whole number from 1 to 8, got 9\."),
    ("rebuild_into", changed(REBUILD, _0=torch.zeros(64).double()), r"dtype must be float32, float16 or bfloat16, got"),
    ("rebuild_into", changed(REBUILD, _0=torch.zeros(128)[::2]), r"out must be a tensor without gaps"),
    ("rebuild_into", changed(REBUILD, _0=torch.zeros(65)), r"codes must have 48 bytes .* got 32\."),
    ("rebuild_into", changed(REBUILD, _2=METADATA[:1]), r"metadata must be contiguous with shape \[2, 2\]"),
    ("rebuild_into", changed(REBUILD, _2=METADATA.float()), r"metadata must be bfloat16: codes of float64 tensors"),
    ("rebuild_into", changed(REBUILD, _7=[]), r"lines must be at most 2 tensors with one inner for each, got 1 and 0"),
    ("rebuild_into", changed(REBUILD, _6=[LINE] * 3, _7=[1] * 3), r"lines must be at most 2 tensors .* got 3 and 3"),
    ("rebuild_into", changed(REBUILD, _6=[LINE.double()]), r"lines must be contiguous float32 tensors of shape \[2, "),
    (
        "rebuild_into",
        changed(REBUILD, _6=[LINE[:1]]),
        r"lines must be contiguous float32 tensors of shape \[2, channels",
    ),
    ("rebuild_into", changed(REBUILD, _6=[LINE[:, :0]]), r"lines must be contiguous float32 tensors of shape"),
    ("rebuild_into", changed(REBUILD, _6=[LINE[:, ::2]]), r"lines must be contiguous float32 tensors of shape"),
    ("rebuild_into", changed(REBUILD, _7=[0]), r"inner must be positive, got 0\."),
    ("rebuild_into", changed(REBUILD, _8=MASK[:7]), r"mask must have 8 bytes .* got 7\."),
    ("rebuild_sum_into", changed(SUM, _3=[4, 9]), r"bits must be a whole number from 1 to 8, got 9\."),
    ("rebuild_sum_into", changed(SUM, _0=torch.zeros(64).double()), r"dtype must be float32, float16 or bfloat16, got"),
    ("rebuild_sum_into", changed(SUM, _2=[METADATA]), r"must have one entry for each term, got 1 for 2\."),
    ("rebuild_sum_into", changed(SUM, _9=[None]), r"must have one entry for each term, got 1 for 2\."),
    ("rebuild_sum_into", changed(SUM, _8=[1, 1]), r"line_count must be at most 2 for each term and together as many"),
    ("rebuild_sum_into", changed(SUM, _8=[0, 0]), r"line_count must be at most 2 for each term and together as many"),
    ("rebuild_sum_into", changed(SUM, _8=[2, -1]), r"line_count must be at most 2 for each term and together as many"),
    ("rebuild_sum_into", changed(SUM, _7=[16, 16]), r"line_count must be at most 2 for each term and together as many"),
    ("rebuild_sum_into", changed(SUM, _1=[CODES, CODES[:8]]), r"codes must have 32 bytes .* got 8\."),
    ("count_poisoned", (METADATA.half(),), r"metadata must be bfloat16"),
    ("count_poisoned", (METADATA[:, :1],), r"metadata must be contiguous with shape"),
    ("count_poisoned", (METADATA.t(),), r"metadata must be contiguous with shape"),
    ("encode_mask", (X.int(), 0.0, 1.0), r"dtype must be float32, float16, bfloat16, float64 or bool, got"),
    ("decode_mask_into", (torch.zeros(64), CODES, 0.0, 1.0), r"codes must have 8 bytes .* got 32\."),
    ("decode_mask_into", (torch.zeros(512)[::2], CODES, 0.0, 1.0), r"out must be a tensor without gaps or overlaps"),
    ("decode_mask_into", (torch.zeros(256, dtype=torch.int32), CODES, 0.0, 1.0), r"dtype must be .* or bool, got"),
    (
        "apply_mask_",
        (torch.zeros(256, dtype=torch.bool), CODES, 0.0, 1.0),
        r"dtype must be float32, float16, bfloat16 ",
    ),
    ("apply_mask_", (torch.zeros(512)[::2], CODES, 0.0, 1.0), r"x must be a tensor without gaps or overlaps"),
    ("apply_mask_", (X, CODES, 0.0, 1.0), r"codes must have 8 bytes .* got 32\."),
    ("encode_integers", (X, 0, 4), r"dtype must be int64, int32, int16, uint8 or int8, got"),
    ("encode_integers", (X.int(), 0, 3), r"bits must be 1, 2, 4, 8, 16 or 32, got 3\."),
    ("decode_integers_into", (INTS[::2], CODES, 0, 8), r"out must be a tensor without gaps or overlaps"),
    ("decode_integers_into", (INTS, CODES, 0, 64), r"bits must be 1, 2, 4, 8, 16 or 32, got 64\."),
    ("decode_integers_into", (X, CODES, 0, 4), r"dtype must be int64, int32, int16, uint8 or int8"),
    ("decode_integers_into", (INTS, CODES, 0, 8), r"codes must have 64 bytes .* got 32\."),
]


@pytest.mark.parametrize("kernels", ["operator", "reference"])
@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED)
def test_refused(name: str, arguments: tuple[Any, ...], message: str, kernels: str) -> None:
    """Kernels of both kinds refuse with the same words."""
    kernel: Callable[..., Any] = OPS[name] if kernels == "operator" else KERNELS[name]
    with pytest.raises((ValueError, RuntimeError), match=message):
        kernel(*arguments)
