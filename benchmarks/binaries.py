"""What the compiler makes of the kernels: registers, spills and the width of memory accesses, without a GPU."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gact.ops import checks
from gact.ops.triton.dequantize import dequantize_kernel
from gact.ops.triton.integers import decode_integers_kernel, encode_integers_kernel
from gact.ops.triton.launch import THREADS, itemsize_of_encoding, rows_per_program
from gact.ops.triton.masks import decode_mask_kernel, encode_mask_kernel
from gact.ops.triton.quantize import quantize_kernel
from gact.ops.triton.rebuild import ITEMSIZE, rebuild_kernel

ARCHITECTURES = {
    "sm_75": GPUTarget("cuda", 75, 32),
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx90a": GPUTarget("hip", "gfx90a", 64),
    "gfx942": GPUTarget("hip", "gfx942", 64),
    "gfx1100": GPUTarget("hip", "gfx1100", 32),
}
"""NVIDIA's Turing, Ampere, Hopper and Blackwell; AMD's MI200, MI300 and RX 7900."""
KERNELS: Mapping[str, Any] = {
    "quantize": quantize_kernel,
    "dequantize": dequantize_kernel,
    "rebuild_into": rebuild_kernel,
    "encode_mask": encode_mask_kernel,
    "decode_mask_into": decode_mask_kernel,
    "apply_mask_": decode_mask_kernel,
    "encode_integers": encode_integers_kernel,
    "decode_integers_into": decode_integers_kernel,
}
_POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*i16",
    torch.float64: "*fp64",
    torch.bool: "*u8",
    torch.uint8: "*u8",
    torch.int8: "*i8",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}


@dataclass(frozen=True, slots=True)
class Variant:
    """A kernel with its compile-time arguments.

    Attributes:
        op: Name of the operator, a key of ``KERNELS``.
        dtype: Of the elements.
        bits: Width of a code; 1 for masks.
        group_size: Elements per group; 256 for masks and integers.
        rounding: One of ``checks.ROUNDINGS``; only for ``quantize``.
        tail: The variant for the short last group.
        walks: Of the lines of ``rebuild_into``: see ``rebuild.channel_of``.
    """

    op: str
    dtype: torch.dtype
    bits: int = 1
    group_size: int = checks.EXACT_GROUP
    rounding: str = "dithered"
    tail: bool = False
    walks: tuple[str, str] = ("runs", "")

    @property
    def bytes_per_element(self) -> float:
        """Bytes read and written for an element of a full group."""
        grouped = self.op in ("quantize", "dequantize", "rebuild_into")
        metadata = 2 * checks.metadata_dtype(self.dtype).itemsize / self.group_size if grouped else 0.0
        passes = 2 if self.op in ("apply_mask_", "rebuild_into") else 1
        mask = 1 / 8 if self.op == "rebuild_into" else 0.0
        return self.dtype.itemsize * passes + self.bits / 8 + metadata + mask

    @property
    def tile_itemsize(self) -> int:
        """Bytes of an element as the tile is determined."""
        if self.op == "quantize":
            return itemsize_of_encoding(self.dtype.itemsize, self.bits)
        return ITEMSIZE if self.op == "rebuild_into" else self.dtype.itemsize

    def constants(self) -> dict[str, Any]:
        """Compile-time arguments of the kernel."""
        known = {
            "BITS": self.bits,
            "GROUP": self.group_size,
            "ROUNDING": self.rounding,
            "ROWS": 1 if self.tail else rows_per_program(self.group_size, self.tile_itemsize),
            "TAIL": self.tail,
            "APPLY": self.op == "apply_mask_",
            "ERASE": self.op == "apply_mask_",
            "WALK0": self.walks[0],
            "WALK1": self.walks[1],
            "MASK": True,
            "ADD": True,
        }
        return {name: known[name] for name in KERNELS[self.op].arg_names if name in known}

    def signature(self) -> dict[str, str]:
        """Type of each argument of the kernel."""
        words = {16: "*i16", 32: "*i32"}.get(self.bits, "*u8")
        pointers = {
            "x_ptr": _POINTERS[self.dtype],
            "out_ptr": _POINTERS[self.dtype],
            "codes_ptr": words,
            "metadata_ptr": "*i64" if self.dtype == torch.float64 else "*i32",
            "line0_ptr": "*fp32",
            "line1_ptr": "*fp32",
            "mask_ptr": "*u8",
        }
        constants = self.constants()
        return {
            name: "constexpr" if name in constants else pointers.get(name, "i64") for name in KERNELS[self.op].arg_names
        }


@dataclass(frozen=True, slots=True)
class Binary:
    """Facts about a compiled kernel.

    Attributes:
        registers: Of a thread.
        spilled: Bytes of a thread's local memory, where registers go that do not fit, and instructions that access it.
        shared: Bytes of shared memory of a program.
        loads: Number of instructions that load from global memory, by their bytes per thread.
        stores: The same for stores.
        instructions: All of them; branches that are rarely taken count too.
        elements: Elements that one thread handles.
    """

    registers: int
    spilled: int
    shared: int
    loads: Mapping[int, int]
    stores: Mapping[int, int]
    instructions: int
    elements: float


def compile_binary(variant: Variant, architecture: str) -> Binary:
    """Compile a kernel as it would be for tensors that are aligned to 16 bytes.

    Args:
        variant: The kernel.
        architecture: One of ``ARCHITECTURES``.

    Returns:
        What its binary tells.
    """
    kernel, signature, constants = KERNELS[variant.op], variant.signature(), variant.constants()
    pointers = [index for index, kind in enumerate(signature.values()) if kind.startswith("*")]
    source = ASTSource(kernel, signature, constants, {(index,): [["tt.divisibility", 16]] for index in pointers})
    target = ARCHITECTURES[architecture]
    options = {"num_warps": THREADS // target.warp_size, "enable_fp_fusion": False}
    compiled = triton.compile(source, target=target, options=options)
    elements = constants["ROWS"] * variant.group_size / THREADS
    read = read_amdgcn if target.backend == "hip" else read_cubin
    return read(compiled.asm[read.__name__.removeprefix("read_")], compiled.metadata.shared, elements)


def read_cubin(cubin: bytes, shared: int, elements: float) -> Binary:
    """Facts about a binary for NVIDIA, from the disassembler that comes with Triton."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        usage, code = _inspect("-res-usage", path), _inspect("-sass", path)
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage)
    if found is None:
        raise RuntimeError(f"cuobjdump gave no resource usage: {usage[:200]!r}.")
    registers, stack, local = map(int, found.groups())
    spilled = stack + local + len(re.findall(r"\b(?:LDL|STL)\b", code))
    lines = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+.*?;", code, re.MULTILINE)
    loads, stores = (_accesses(rf"\b{kind}([.\w]+)", code) for kind in ("LDG", "STG"))
    return Binary(registers, spilled, shared, loads, stores, len(lines), elements)


def read_amdgcn(assembly: str, shared: int, elements: float) -> Binary:
    """Facts about a kernel for AMD, from its assembly."""
    facts = {name: int(value) for name, value in re.findall(r"^ +\.(\w+):\s+(\d+)$", assembly, re.MULTILINE)}
    # Scalar registers that do not fit go to lanes of vector registers, not to memory.
    spilled = facts["vgpr_spill_count"] + facts["private_segment_fixed_size"]
    lines = re.findall(r"^\t[a-z]\w+", assembly, re.MULTILINE)
    loads, stores = (_accesses(rf"\b(?:global|buffer)_{kind}_(\w+)", assembly) for kind in ("load", "store"))
    return Binary(facts["vgpr_count"], spilled, shared, loads, stores, len(lines), elements)


def _inspect(what: str, path: Path) -> str:
    tool = triton.knobs.nvidia.cuobjdump.path
    return subprocess.run([tool, what, str(path)], check=True, capture_output=True, text=True).stdout


def _accesses(pattern: str, code: str) -> Counter[int]:
    """Number of instructions by the bytes that each moves for a thread, which the end of its name tells."""
    widths = {r"128|x4": 16, r"x3|b96": 12, r"64|x2": 8, r"[US]?16|short": 2, r"[US]8|[ui]8|b8|byte": 1}
    found = re.findall(pattern, code)
    return Counter(next((size for part, size in widths.items() if re.search(part, name)), 4) for name in found)
