"""How fast this machine quantizes, dequantizes, copies, multiplies and writes; measured in about a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..codecs.groups import Groups
from ..store.engine import STAGING_BYTES
from ..store.spill import Blob, SpillFile

WIDTHS = (2, 4, 8)
_NUMEL = 2**21
_SIDE = 768
_FILE = 16 * 2**20
_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Costs:
    """Speeds of a machine.

    Attributes:
        quantize: Bytes of float32 values that are quantized in a second, by width.
        dequantize: Bytes of float32 values that are decoded in a second, by width.
        copy: Bytes of values that are copied in a second.
        flops: Floating-point operations of a matrix product in a second.
        write: Bytes that are written to where codes are offloaded in a second; 0 for no offloading.
        read: Bytes that are read from there in a second.
    """

    quantize: Mapping[int, float]
    dequantize: Mapping[int, float]
    copy: float
    flops: float
    write: float = 0.0
    read: float = 0.0


def measure_costs(device: torch.device | str = "cpu", directory: str | Path | None = None) -> Costs:
    """Measures this machine.

    Args:
        device: Where training runs.
        directory: Where codes would be offloaded to; None for no offloading. A file of 16 MiB is written and removed.
    """
    device = torch.device(device)
    values = torch.linspace(-1, 1, _NUMEL, device=device)
    other = torch.empty_like(values)
    square = torch.ones(_SIDE, _SIDE, device=device)
    quantize, dequantize = {}, {}
    for bits in WIDTHS:
        code = Groups(values, bits, 256, 0)
        quantize[bits] = values.nbytes / _seconds(lambda bits=bits: Groups(values, bits, 256, 0), device)  # type: ignore[misc]
        dequantize[bits] = values.nbytes / _seconds(lambda code=code: code.decode((_NUMEL,), (1,)), device)  # type: ignore[misc]
    copy = values.nbytes / _seconds(lambda: other.copy_(values), device)
    flops = 2 * _SIDE**3 / _seconds(lambda: square @ square, device)
    write, read = (0.0, 0.0) if directory is None else _disk(Path(directory))
    return Costs(quantize, dequantize, copy, flops, write, read)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """The shortest of a few runs."""
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return max(best, 1e-9)


def _disk(directory: Path) -> tuple[float, float]:
    """Bytes a second to and from a file, as offloading goes: past the system's cache where that is possible."""
    file = SpillFile(directory, STAGING_BYTES)
    parts = (torch.zeros(_FILE, dtype=torch.uint8),)
    blob = Blob.of(parts)
    cpu = torch.device("cpu")
    try:
        write = blob.nbytes / _seconds(lambda: file.write([(blob, parts)], 0), cpu)
        return write, blob.nbytes / _seconds(lambda: file.read(blob, 0), cpu)
    finally:
        file.close()
