"""Codes under a hyperbola that become plain ones, since somebody else reads the values too."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..codecs.forms import quantized
from ..codecs.groups import Groups
from ..codecs.transforms import Transform
from ..operators.forms import BENT, OWN
from ..operators.need import Need
from .coarse import fit
from .encoded import Encoded
from .held import HeldRegions
from .identity import Identity
from .ledger import Ledger


class Located(Protocol):
    """A region and its identity: a save, or a place."""

    @property
    def identity(self) -> Identity:  # noqa: D102
        ...

    @property
    def region(self) -> Tensor | None:  # noqa: D102
        ...


def straightened(
    held: HeldRegions,
    place: Located,
    ledger: Ledger,
    form: str = "",
    transform: Transform | None = None,
    min_bits: int = 1,
) -> Encoded | None:
    """The codes that hold a region for one function alone, from now on right on average for all.

    Two codes of a region would cost twice the bytes. The width, the key and who holds it stay.

    Args:
        held: What is held.
        place: The region.
        ledger: Counts what the codes gain.
        form: In which form values are read; nothing is done for one that does not serve all.
        transform: What it calls for.
        min_bits: How wide codes must be.

    Returns:
        The codes; None if there are none, they are too narrow or elsewhere, the region is not finite, or plain codes
        would be too coarse for the function.
    """
    region, found = place.region, held.bent(place.identity)
    if region is None or found is None or form in OWN or found.bits < min_bits:
        return None
    if form in BENT:  # of another function, which its hyperbola does not serve
        form, transform = "", None
    old = found.code
    if not isinstance(old, Groups):
        return None
    code = quantized(region.detach(), old.bits, old.group_size, old.seed, transform)
    if region.is_cpu and code.is_poisoned():
        return None
    if old.bent is not None and fit(code, region, Need("value", turn=old.bent.scale), old.bits) > old.bits:
        return None
    if found.owner is not None:
        ledger.resize(found.owner, found.decision, code.nbytes - old.nbytes)
    found.code = code
    held.add_value(place.identity, found, form)
    return found
