"""The Triton kernels compiled for NVIDIA and AMD without a GPU: no spills, few registers, wide memory accesses."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import torch

pytest.importorskip("triton", reason="Triton is an optional dependency, for GPUs: pip install triton")

from benchmarks.binaries import ARCHITECTURES, Binary, Variant, compile_binary

FULL = (
    Variant("quantize", torch.float32, 4),
    Variant("quantize", torch.bfloat16, 3, rounding="stochastic"),
    Variant("dequantize", torch.float32, 5),
    Variant("dequantize", torch.bfloat16, 7),
    Variant("rebuild_into", torch.float32, 4),
    Variant("encode_mask", torch.float32),
    Variant("decode_mask_into", torch.bfloat16),
    Variant("apply_mask_", torch.float16),
    Variant("encode_integers", torch.int64, 8),
    Variant("decode_integers_into", torch.int64, 16),
)
ROTATED = (
    Variant("quantize", torch.float16, 8, 128, "nearest"),
    Variant("quantize", torch.float64, 7, 1024),
    Variant("dequantize", torch.float16, 1, 512),
    Variant("dequantize", torch.float64, 2, 1024),
    Variant("quantize", torch.float32, 1, 512),
    Variant("dequantize", torch.bfloat16, 6, 128),
    Variant("rebuild_into", torch.bfloat16, 3, walks=("any", "cycle")),
    Variant("encode_mask", torch.bool),
    Variant("encode_integers", torch.uint8, 1),
)
"""Each on one architecture only."""
SHORT = (
    Variant("quantize", torch.bfloat16, 6, 32),
    Variant("quantize", torch.float32, 2, 256, tail=True),
    Variant("dequantize", torch.bfloat16, 6, 32, tail=True),
    Variant("rebuild_into", torch.float16, 5, 64, walks=("any", "any")),
    Variant("rebuild_into", torch.float32, 8, 1024, walks=("runs", "cycle"), tail=True),
)
WIDTHS = {"quantize": (2, 5, 6, 8), "dequantize": (2, 3, 4, 8)}
"""Those that the others leave out."""
NVIDIA = [name for name in ARCHITECTURES if name.startswith("sm_")]
REGISTERS = 128 if tuple(map(int, version("triton").split(".")[:2])) >= (3, 9) else 168
"""With 128, an NVIDIA multiprocessor of 65536 registers runs four programs of 128 threads at once, with 168 three."""
REGISTERS_BLACKWELL = 224
"""There the assembler takes more to hide latencies; two programs still run at once."""


def compiled(variant: Variant, architecture: str) -> Binary:
    binary = compile_binary(variant, architecture)
    assert binary.spilled == 0, (variant, binary)
    limit = REGISTERS_BLACKWELL if architecture == "sm_100" else REGISTERS
    assert binary.registers <= limit, (variant, binary)
    return binary


@pytest.mark.parametrize("architecture", [*NVIDIA, "gfx942", "gfx1100"])
def test_nothing_spills_and_elements_move_16_bytes_at_a_time(architecture: str) -> None:
    rotated = ROTATED[NVIDIA.index(architecture) :: len(NVIDIA)] if architecture in NVIDIA else ()
    for variant in (*(FULL if architecture in NVIDIA else FULL[1::3]), *rotated):
        binary = compiled(variant, architecture)
        decodes = variant.op.startswith("decode") or variant.op in ("dequantize", "rebuild_into")
        accesses = binary.stores if decodes else binary.loads
        # One access for each of the eight sections.
        width = 16 * variant.dtype.itemsize // variant.tile_itemsize
        assert accesses[width] >= 8, (variant, binary)
        assert binary.elements * variant.dtype.itemsize == 8 * width


@pytest.mark.parametrize("architecture", ["sm_75", "gfx942"])
def test_small_and_short_groups_compile_without_spills(architecture: str) -> None:
    for variant in SHORT:
        compiled(variant, architecture)


@pytest.mark.parametrize("op", WIDTHS)
def test_every_width_compiles_without_spills(op: str) -> None:
    for bits, architecture in zip(WIDTHS[op], NVIDIA, strict=True):
        compiled(Variant(op, torch.bfloat16, bits), architecture)


def test_bytes_per_element_count_codes_and_metadata() -> None:
    assert Variant("quantize", torch.float32, 4).bytes_per_element == 4 + 0.5 + 4 / 256
    assert Variant("dequantize", torch.float64, 8, 32).bytes_per_element == 8 + 1 + 8 / 32
    assert Variant("rebuild_into", torch.float32, 4).bytes_per_element == 2 * 4 + 0.5 + 4 / 256 + 1 / 8
    assert Variant("apply_mask_", torch.float16).bytes_per_element == 2 * 2 + 1 / 8
