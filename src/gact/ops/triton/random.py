"""The counter-based generator of stochastic and dithered rounding. See ``docs/codes.md``, "Rounding"."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from .tiles import append


@triton.jit
def group_key(seed: tl.tensor, group: tl.tensor) -> tl.tensor:
    """64-bit key of each group, uint64."""
    z = seed.to(tl.uint64) + (group + 1).to(tl.uint64) * 0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return z ^ (z >> 31)


@triton.jit
def hash_counter(key: tl.tensor, counter: tl.tensor) -> tl.tensor:
    """32 random bits, uint32."""
    h = key.to(tl.uint32) + counter.to(tl.uint32) * 0x9E3779B9
    h = (h ^ (h >> 16)) * 0x7FEB352D
    h = h ^ (key >> 32).to(tl.uint32)
    h = (h ^ (h >> 15)) * 0x846CA68B
    return h ^ (h >> 16)


@triton.jit
def private_bits(key: tl.tensor, k: tl.tensor, eighth: tl.tensor, GROUP: tl.constexpr, TAIL: tl.constexpr) -> tl.tuple:
    """15 bits for each element of the eight sections; in full groups the sections s and s + 4 share their hashes."""
    lower = ()
    upper = ()
    for s in tl.static_range(4):
        if TAIL:
            lower = append(lower, private_bits_of(key, s * eighth + k, GROUP))
            upper = append(upper, private_bits_of(key, (s + 4) * eighth + k, GROUP))
        else:
            h = hash_counter(key, s * eighth + k)
            lower = append(lower, h & 0x7FFF)
            upper = append(upper, h >> 17)
    return lower + upper


@triton.jit
def private_bits_of(key: tl.tensor, j: tl.tensor, GROUP: tl.constexpr) -> tl.tensor:
    """15 bits for any elements j."""
    h = hash_counter(key, j % (GROUP // 2))
    return tl.where(j < GROUP // 2, h & 0x7FFF, h >> 17)


@triton.jit
def shared_bits(
    key: tl.tensor, SECTION: tl.constexpr, k: tl.tensor, eighth: tl.tensor, TAIL: tl.constexpr
) -> tl.tensor:
    """Two bits for each element of a section that the decoder draws again, uint32."""
    if TAIL:
        return shared_bits_from(key, 0, SECTION * eighth + k)
    else:
        # Sections of full groups begin where neither sum of the function below carries over; they often share hashes.
        return shared_bits_from(key, SECTION * eighth, k)


@triton.jit
def shared_bits_from(key: tl.tensor, START: tl.constexpr, k: tl.tensor) -> tl.tensor:
    """Two bits for each of the elements START + k that the decoder draws again, uint32."""
    counter = (512 + START // 256 * 16 + START % 16) + (k // 256 * 16 + k % 16)
    return hash_counter(key, counter) >> (2 * ((START // 16 + k // 16) % 16)).to(tl.uint32) & 3
