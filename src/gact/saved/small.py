"""Below which size a tensor stays as it is: a fixed one, or one that many small tensors bring down.

NOTE: By share
Small tensors cost more to hold in codes than they save, as long as they are few bytes of all. Where they are most of
what a step keeps (a recurrent network has thousands), leaving them alone would leave the memory alone. So what small
tensors keep is counted, and once it is much and more than all else, only very small ones stay as they are, for the
rest of the training. The loss, statistics and what else backward needs exactly are exact at every size.
"""

from __future__ import annotations

from .ledger import Ledger

USUAL = 65536
"""Bytes below which a tensor usually is small."""
LEAST = 4096
"""Bytes below which it always is."""
_MUCH = 2**19
SMALL = "small"
"""The reason why such a tensor is kept."""


class Small:
    """Below how many bytes tensors are small.

    Args:
        least: The bytes; None to decide by share.

    Attributes:
        bytes: That many bytes.
        kept: Bytes of small tensors that the step has kept.
        limit: At how many of them to look for their share.
    """

    __slots__ = ("_by_share", "bytes", "kept", "limit")

    def __init__(self, least: int | None) -> None:
        self._by_share = least is None
        self.bytes = USUAL if least is None else least
        self.kept = 0
        self.limit = float(_MUCH) if self._by_share else float("inf")

    def begin_step(self) -> None:
        """Starts to count anew."""
        self.kept = 0
        self.limit = float(_MUCH) if self._by_share and self.bytes > LEAST else float("inf")

    def look(self, ledger: Ledger) -> None:
        """Looks whether small tensors are most of what a step keeps, and has fewer of them be small if so."""
        self.limit *= 2
        small = total = 0
        for (_, decision), tally in ledger.tallies.items():
            total += tally.plain_bytes
            small += tally.plain_bytes if decision.reason == SMALL else 0
        if small >= _MUCH and 2 * small > total:
            self.load(LEAST)

    def load(self, least: int) -> None:
        """Takes what another training has come to, unless the bytes are fixed."""
        if self._by_share:
            self.bytes = least
            self.begin_step()
