"""Keys of the random streams of stochastic rounding: one for each saved tensor, the same in every equal run."""

from __future__ import annotations

_MASK = (1 << 64) - 1


def key(seed: int, step: int, site: int, occurrence: int) -> int:
    """Key of one saved tensor, as the int64 that the quantize op takes.

    The three counters are multiplied with odd constants that are unrelated to the one by which a key moves from
    group to group, so that streams of nearby keys do not run into each other.

    Args:
        seed: The user's seed.
        step: Number of the step.
        site: 64-bit hash of the site.
        occurrence: How many tensors the site has saved before in this step.
    """
    mixed = site ^ (seed * 0xD1342543DE82EF95 + step * 0xAEF17502108EF2D9 + occurrence * 0xDA942042E4DD58B5) & _MASK
    return mixed - (1 << 64) if mixed >> 63 else mixed
