"""Figures that lie on devices, brought to the CPU together: a device is waited for once, however many there are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def brought(figures: Sequence[Tensor]) -> list[Tensor]:
    """The same on the CPU, in float64.

    Args:
        figures: Small tensors, on any devices.
    """
    found: list[Tensor] = [each.double() for each in figures]
    for device in {each.device for each in found if not each.is_cpu}:
        places = [place for place, each in enumerate(found) if each.device == device]
        together = torch.cat([found[place].flatten() for place in places]).cpu()
        parts = together.split([found[place].numel() for place in places])
        for place, part in zip(places, parts, strict=True):
            found[place] = part.view(found[place].shape)
    return found
