"""Checks of what users pass, made once at the border.

Every message says what was got, what is allowed, and the remedy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

GROUP_SIZES = (32, 64, 128, 256, 512, 1024)


def check_bits(bits: Any, *, whole: bool) -> float:
    """The average width as a number from 1 to 8; a whole one where every tensor gets the same width."""
    number = bits if isinstance(bits, Real) and not isinstance(bits, bool) else 0
    if not 1 <= float(number) <= 8:
        raise ValueError(f"bits must be a number from 1 to 8, got {bits!r}.")
    if whole and bits != int(bits):
        raise ValueError(
            f"bits must be whole with adaptive=False, which gives every tensor the same width, got {bits!r}. "
            "Pass a whole number, or adaptive=True."
        )
    return float(bits)


def check_group_size(group_size: Any) -> int:
    """The group size as one of ``GROUP_SIZES``."""
    if group_size not in GROUP_SIZES:
        raise ValueError(f"group_size must be a power of two from 32 to 1024, got {group_size!r}.")
    return int(group_size)


def check_count(name: str, value: Any, least: int) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    return int(value)


def check_count_or_none(name: str, value: Any, least: int) -> int | None:
    """A whole number of at least ``least``, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name} must be a whole number of at least {least} or None, got {value!r}.")
    return int(value)


def check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of a few words."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")
    return str(value)


def check_positive(name: str, value: Any) -> float | None:
    """A positive number, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < float("inf"):
        raise ValueError(f"{name} must be a positive number or None, got {value!r}.")
    return float(value)


_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def check_memory(memory: Any) -> int | None:
    """Bytes, from a number or a text such as ``"2 GiB"``, or None."""
    if memory is None:
        return None
    number = float(memory) if isinstance(memory, Real) and not isinstance(memory, bool) else 0.0
    if isinstance(memory, str):
        text = memory.replace(" ", "").upper()
        unit = text.lstrip("0123456789.")
        with contextlib.suppress(ValueError, KeyError):
            number = float(text.removesuffix(unit)) * _UNITS[unit]
    if not 1 <= number < 2**63:
        raise ValueError(f'memory must be a number of bytes or a text such as "2 GiB" or "500 MB", got {memory!r}.')
    return int(number)


def check_budgets(adaptive: bool, **budgets: Any) -> None:
    """At most one budget besides ``bits``, and none where nothing is measured."""
    given = [name for name, value in budgets.items() if value is not None]
    if given and not adaptive:
        raise ValueError(f"{given[0]} needs measured sensitivities, got adaptive=False. Leave out one of the two.")
    if "ratio" in given and "memory" in given:
        raise ValueError("pass either ratio or memory, got both.")


def check_seed(seed: Any) -> int:
    """A seed of 64 bits, signed."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not -(2**63) <= int(seed) < 2**63:
        raise ValueError(f"seed must be a whole number that fits in 64 bits, got {seed!r}.")
    return int(seed)


def check_names(name: str, value: Any) -> bool | tuple[str, ...]:
    """A switch, or names as a tuple."""
    if isinstance(value, bool):
        return value
    names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if not names or not all(isinstance(each, str) for each in names):
        raise TypeError(f"{name} must be True, False or a list of module path patterns, got {value!r}.")
    return names
