"""Powers that are smooth functions of what is raised, and rise no faster than their codes can bear."""

from __future__ import annotations

from typing import Any

POWERS = ["pow", "__pow__", "square"]
_MOST = 4


def is_whole(exponent: Any) -> bool:
    """Whether an exponent is 2, 3 or 4: others have a pole or a kink at zero, or rise too fast."""
    return type(exponent) in (int, float) and 2 <= exponent <= _MOST and exponent == int(exponent)
