"""A technique for each block: what a mix is, and how a compressor and checkpointing are told of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..packing.rules import Rule
from ..records import Site
from .census import REST, owner_of
from .predict import Way

TECHNIQUES = ("keep", "quantize", "offload", "recompute")


@dataclass(frozen=True, slots=True)
class Assignment:
    """What is done with what one block saves.

    Attributes:
        module: Path of the block; ``""`` for all that lies in none.
        technique: ``"keep"``; ``"quantize"``; ``"offload"``, which quantizes and moves the codes elsewhere; or
            ``"recompute"``, which holds the block's inputs only.
        bits: Width of the codes, of the inputs for ``"recompute"``; 0 where everything is held exactly.
    """

    module: str
    technique: str
    bits: int = 0

    def __str__(self) -> str:
        width = f" at {self.bits} bits" if self.bits else ""
        return f"{self.module or 'the rest'}: {self.technique}{width}"


@dataclass(frozen=True, slots=True)
class Owned:
    """A condition of rules: whether the module that saves lies in one of some blocks.

    Attributes:
        owners: The blocks; ``""`` for what lies in none.
        blocks: All blocks.
    """

    owners: tuple[str, ...]
    blocks: tuple[str, ...]

    def __call__(self, site: Site, tensor: Tensor) -> bool:
        """Whether a save belongs to one of the owners."""
        return owner_of(site.module, self.blocks) in self.owners


@dataclass(frozen=True, slots=True)
class Mix:
    """A technique for each block, with what it takes.

    Attributes:
        assignments: One for each block, and one for what lies in none.
        seconds: Predicted time that it adds to a plain step of the example.
        peak: Predicted peak in bytes.
    """

    assignments: tuple[Assignment, ...]
    seconds: float
    peak: int = 0

    @property
    def compresses(self) -> bool:
        """Whether anything is held in codes."""
        return any(each.bits for each in self.assignments)

    @property
    def recomputed(self) -> tuple[str, ...]:
        """Blocks that run again in backward."""
        return tuple(each.module for each in self.assignments if each.technique == "recompute")

    @property
    def offloaded(self) -> tuple[str, ...]:
        """Blocks whose codes lie elsewhere."""
        return tuple(each.module for each in self.assignments if each.technique == "offload" and each.module)

    def bits(self) -> int:
        """The width that most blocks have; 4 if none has one."""
        widths = [each.bits for each in self.assignments if each.bits]
        return max(set(widths), key=widths.count) if widths else 4

    def rules(self) -> tuple[Rule, ...]:
        """Rules for a compressor of width ``bits()``; none if nothing is compressed."""
        if not self.offloaded:
            return self._of_widths()
        blocks = tuple(each.module for each in self.assignments if each.module)
        return (*self._of_widths(), Rule(where=Owned(self.offloaded, blocks), offload=True))

    def _of_widths(self) -> tuple[Rule, ...]:
        if not self.compresses:
            return ()
        blocks = tuple(each.module for each in self.assignments if each.module)
        found = []
        for width in sorted({each.bits for each in self.assignments} - {self.bits()}):
            owners = tuple(each.module for each in self.assignments if each.bits == width)
            where = Owned(owners, blocks)
            found.append(Rule(where=where, bits=width) if width else Rule(where=where, keep=True))
        return tuple(found)

    def way(self) -> Way:
        """How a step of this mix is predicted."""
        return Way(
            compress=self.compresses,
            checkpoint=self.recomputed or False,
            bits=self.bits(),
            rules=self._of_widths(),
            offload=self.offloaded,
        )


def uniform(blocks: tuple[str, ...], technique: str, rest: str, bits: int) -> Mix:
    """One technique for all blocks, and one for the rest.

    Args:
        blocks: Names of the blocks.
        technique: What is done with them.
        rest: What is done with the rest.
        bits: Width of codes; 0 for none.
    """
    width = 0 if technique == "keep" else bits
    of_rest = 0 if rest == "keep" else bits
    every = (*(Assignment(name, technique, width) for name in blocks), Assignment(REST, rest, of_rest))
    return Mix(every, 0.0)
