"""The group code element by element in plain Python: slow, without torch, written from docs/codes.md alone.

A Python float is a float64. Float32 arithmetic is done in it and rounded after every operation, which gives the float32
result: 53 bits are more than twice 24 and two (Figueroa 1995).
"""

from __future__ import annotations

import math
import struct

PLANES = {1: [1], 2: [2], 3: [2, 1], 4: [4], 5: [4, 1], 6: [4, 2], 7: [4, 2, 1], 8: [8]}


def to_float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def float_of_field(bits: int, wide: bool) -> float:
    return struct.unpack("<f", struct.pack("<I", bits if wide else bits << 16))[0]


def field_below(value: float, wide: bool) -> int:
    """Bits of the largest field not above the value: a float32 if wide, else a bfloat16."""
    near = struct.unpack("<I", struct.pack("<f", value))[0]
    near = near if wide else near >> 16
    sign = 2**31 if wide else 2**15
    candidates = [0, sign + 1] + [near + step for step in (-1, 0, 1) if near + step > 0 and (near + step) % sign]
    return max((c for c in candidates if float_of_field(c, wide) <= value), key=lambda c: float_of_field(c, wide))


def field_above(positive: float, wide: bool) -> int:
    return field_below(-positive, wide) - (2**31 if wide else 2**15)


def splitmix(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def rounding_bits(seed: int, group: int, j: int, group_size: int) -> int:
    key = splitmix((seed + (group + 1) * 0x9E3779B97F4A7C15) % 2**64)
    h = (key % 2**32 + j % (group_size // 2) * 0x9E3779B9) % 2**32
    h = (h ^ (h >> 16)) * 0x7FEB352D % 2**32
    h ^= key >> 32
    h = (h ^ (h >> 15)) * 0x846CA68B % 2**32
    h ^= h >> 16
    return h & 0x7FFF if j < group_size // 2 else h >> 17


def pack_group(codes: list[int], bits: int) -> bytes:
    length = -(-len(codes) // 32) * 32
    codes = codes + [0] * (length - len(codes))
    packed, shift = bytearray(), 0
    for width in PLANES[bits]:
        section = length * width // 8
        for k in range(section):
            byte = 0
            for s in range(8 // width):
                byte |= ((codes[k + s * section] >> shift) & (2**width - 1)) << (s * width)
            packed.append(byte)
        shift += width
    return bytes(packed)


def quantize_group(
    values: list[float], group: int, bits: int, group_size: int, seed: int | None, wide: bool
) -> tuple[bytes, int, int]:
    """Packed codes, and the bits of minimum and scale, of one group of float64 (wide) or narrower values."""
    rounded = float if wide else to_float32
    size = 4 * bits * -(-len(values) // 32)
    if all(map(math.isfinite, values)) and min(values) == max(values):
        value = struct.pack("<d" if wide else "<f", values[0] + 0.0)
        half = len(value) // 2
        return value[:half].ljust(size, b"\0"), int.from_bytes(value[half:], "little"), 0
    if not all(abs(value) < 2.0**100 for value in values):
        nan = 0x7FC00000 if wide else 0x7FC0
        return bytes(size), nan, nan
    levels = 2**bits - 1
    minimum_field = field_below(min(values) + 0.0, wide)
    minimum = float_of_field(minimum_field, wide)
    scale_field = field_above(max(rounded(rounded(max(values) - minimum) / levels), 2.0**-100), wide)
    inverse = rounded(1.0 / float_of_field(scale_field, wide))
    codes = []
    for j, x in enumerate(values):
        q = rounded(rounded(x - minimum) * inverse)
        t = min(max(round(q * 32768), 0), levels * 32768)
        r = 16384 if seed is None else rounding_bits(seed, group, j, group_size)
        codes.append((t + r) >> 15)
    return pack_group(codes, bits), minimum_field, scale_field
