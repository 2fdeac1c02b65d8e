"""Registers, spills and bytes of the kernels for GPUs, from their binaries, and the time that the bytes predict."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import torch

from ..options import Options
from ..rows import Row, Spread

MIB = 64
BANDWIDTH = {"sm_75": ("T4", 320), "sm_80": ("A100 40 GB", 1555), "sm_90": ("H100 SXM", 3350), "sm_100": ("B200", 8000)}
"""GB/s of a chip of each architecture, as its public datasheet has it."""
AMD = "gfx942"
DTYPES = (torch.float32, torch.bfloat16)
WIDTHS = (1, 2, 3, 4, 8)


def run(options: Options) -> Iterator[Row]:
    """Nothing runs on a GPU. ``predicted_us`` is bytes over the datasheet's bandwidth: what no kernel can beat.

    ``instructions_per_element`` counts all instructions of the binary, those of rare branches included.
    """
    if importlib.util.find_spec("triton") is None:
        print("  Triton is not installed: pip install triton")
        return
    from benchmarks.binaries import Variant, compile_binary

    grouped = [
        Variant(op, dtype, bits)
        for op in ("quantize", "dequantize")
        for dtype in DTYPES
        for bits in options.pick(WIDTHS, (3,))
    ]
    masks = [Variant(op, dtype) for op in ("encode_mask", "decode_mask_into", "apply_mask_") for dtype in DTYPES]
    integers = [Variant(op, torch.int64, bits) for op in ("encode_integers", "decode_integers_into") for bits in (8,)]
    for architecture in options.pick((*BANDWIDTH, AMD), ("sm_80",)):
        for variant in options.pick([*grouped, *masks, *integers], [grouped[0], grouped[-1], masks[0], integers[0]]):
            dtype = str(variant.dtype).removeprefix("torch.")
            config = {"architecture": architecture, "dtype": dtype, "bits": variant.bits, "group_size": 256}
            if options.wants({"way": variant.op, **config}):
                binary = compile_binary(variant, architecture)
                figures = {
                    "registers": binary.registers,
                    "spilled": binary.spilled,
                    "widest_load_bytes": max(binary.loads),
                    "widest_store_bytes": max(binary.stores),
                    "instructions_per_element": binary.instructions / binary.elements,
                    "bytes_per_element": variant.bytes_per_element,
                }
                for metric, value in figures.items():
                    yield Row(variant.op, metric, Spread.exact(value), config)
                if architecture in BANDWIDTH:
                    yield _predicted(variant.op, variant.bytes_per_element / variant.dtype.itemsize, config)


def _predicted(way: str, bytes_per_byte: float, config: dict[str, object]) -> Row:
    """Time for a tensor of 64 MiB if its bytes and its codes' move at the full bandwidth."""
    chip, bandwidth = BANDWIDTH[str(config["architecture"])]
    seconds = MIB * 2**20 * bytes_per_byte / (bandwidth * 1e9)
    where = {**config, "size": f"{MIB} MiB", "chip": chip, "gbps": bandwidth, "kind": "predicted"}
    return Row(way, "predicted_us", Spread.exact(seconds * 1e6), where)
