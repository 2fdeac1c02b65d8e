"""The figures of one step as data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ..records import UNLISTED


@dataclass(frozen=True, slots=True)
class Row:
    """What one site saved in the step, as far as it was treated alike.

    Attributes:
        module: Path of the module that was running.
        op: Operation that saved.
        call: Which of the module's calls of this op.
        slot: Which of the tensors saved by that call.
        codec: ``"groups"``, ``"mask"``, ``"integers"``, ``"sparse"``, ``"derived"`` or ``"keep"``.
        bits: Width of a code; 0 for a kept or derived tensor.
        count: Tensors saved.
        duplicates: Of those, saves of memory that was held already.
        plain_bytes: Bytes that plain autograd keeps for them, each storage counted at its first save.
        kept_bytes: Bytes held for them, metadata included, without what was moved elsewhere.
        offloaded_bytes: Bytes that were moved out of the memory of their device.
        reason: Why they were left alone; empty for compressed ones.
        noise_share: Share of the predicted gradient noise that its width causes, 0 to 1; None where it is not measured.
    """

    module: str
    op: str
    call: int
    slot: int
    codec: str
    bits: int
    count: int
    duplicates: int
    plain_bytes: int
    kept_bytes: int
    reason: str
    offloaded_bytes: int = 0
    noise_share: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a ``Report``, which tells what each is, for those who render them."""

    rows: tuple[Row, ...]
    parameter_saves: int = 0
    noise: float | None = None
    batch_variance: float | None = None
    passes: int = 0
    over_budget: bool = False
    unmeasured: str = ""
    advice: tuple[tuple[str, str, str], ...] = ()
    parameters: tuple[tuple[str, float, float], ...] = ()
    model: str = ""
    measured: bool = False

    @property
    def plain_bytes(self) -> int:
        """Bytes that plain autograd keeps, each storage counted once."""
        return sum(row.plain_bytes for row in self.rows)

    @property
    def kept_bytes(self) -> int:
        """Bytes held instead, metadata and tensors left alone included."""
        return sum(row.kept_bytes for row in self.rows)

    @property
    def offloaded_bytes(self) -> int:
        """Bytes that were moved to the host or to disk; they are not in ``kept_bytes``."""
        return sum(row.offloaded_bytes for row in self.rows)

    @property
    def ratio(self) -> float:
        """Compression ratio: ``plain_bytes`` over what is held, in memory or offloaded; 1 if nothing was saved."""
        held = self.kept_bytes + self.offloaded_bytes
        return self.plain_bytes / held if held else 1.0

    @property
    def coverage(self) -> float:
        """Percentage of ``plain_bytes`` that was compressed; 0 if nothing was saved."""
        compressed = sum(row.plain_bytes for row in self.rows if row.codec != "keep")
        return 100.0 * compressed / self.plain_bytes if self.plain_bytes else 0.0

    @property
    def unlisted(self) -> dict[str, int]:
        """Bytes that are held exactly because nothing tells what backward reads, by class of node, the most first."""
        found: dict[str, int] = {}
        for row in self.rows:
            if row.reason.endswith(UNLISTED):
                name = row.reason.removesuffix(UNLISTED)
                found[name] = found.get(name, 0) + row.kept_bytes + row.offloaded_bytes
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def noise_ratio(self) -> float | None:
        """Predicted gradient noise as a share of the variance from batch to batch, which training copes with anyway."""
        return self.noise / self.batch_variance if self.noise is not None and self.batch_variance else None

    def to_json(self, indent: int | None = 2) -> str:
        """The totals and all rows as JSON.

        Args:
            indent: Spaces per level, or None for one line.
        """
        totals = {
            "advice": [list(each) for each in self.advice],
            "plain_bytes": self.plain_bytes,
            "kept_bytes": self.kept_bytes,
            "offloaded_bytes": self.offloaded_bytes,
            "ratio": self.ratio,
            "coverage": self.coverage,
            "parameter_saves": self.parameter_saves,
            "unlisted": self.unlisted,
            "noise": self.noise,
            "batch_variance": self.batch_variance,
            "noise_ratio": self.noise_ratio,
            "passes": self.passes,
            "over_budget": self.over_budget,
            "unmeasured": self.unmeasured,
            "model": self.model,
            "measured": self.measured,
            "parameters": [list(each) for each in self.parameters],
        }
        return json.dumps({**totals, "rows": [asdict(row) for row in self.rows]}, indent=indent)
