"""Values beside numbers that stand for something else: what was masked with -1e9, or padded with 1e30.

NOTE: What a fill does to its groups
A number that is put where a score counts for nothing is a million times as large as the scores, and so is the step of
its group: of the scores nothing is left. Backward multiplies the number by a gradient of exactly zero, and the scores
by one that is not. Outliers of a network have sizes of all kinds between them and the rest; beside a fill there is a
gap. Where few groups have one they are held exactly, else the whole region is.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 512.0
"""So large is a fill at least."""
_GAP = 64.0
"""So many times as large as what is not one is the least of them, and the greatest at most a quarter of that."""


def has_fills(values: Tensor) -> bool:
    """Whether some elements are far from all others, with a gap between; where all others are zero they are not.

    Args:
        values: Floating-point numbers at hand.
    """
    if not values.numel():
        return False
    values = values.detach()
    least, most = (float(each) for each in torch.aminmax(values))
    greatest = max(most, -least)
    if not greatest >= LEAST:
        return False
    sizes = values.abs()
    rest = float(sizes.masked_fill_(sizes >= greatest / 4, 0).amax())
    return 0 < rest * _GAP <= greatest
