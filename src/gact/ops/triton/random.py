"""The counter-based generator of stochastic rounding. See ``docs/codes.md``, "Rounding"."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def group_key(seed: tl.tensor, group: tl.tensor) -> tl.tensor:
    """64-bit key of each group, uint64."""
    z = seed.to(tl.uint64) + (group + 1).to(tl.uint64) * 0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return z ^ (z >> 31)


@triton.jit
def hash_pair(key: tl.tensor, i: tl.tensor) -> tl.tensor:
    """32 random bits, uint32, for the elements i and i + group_size / 2: the lowest 15 and the highest 15 of them."""
    h = key.to(tl.uint32) + i.to(tl.uint32) * 0x9E3779B9
    h = (h ^ (h >> 16)) * 0x7FEB352D
    h = h ^ (key >> 32).to(tl.uint32)
    h = (h ^ (h >> 15)) * 0x846CA68B
    return h ^ (h >> 16)
