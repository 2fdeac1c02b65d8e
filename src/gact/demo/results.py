"""Records of the demonstration: what is asked for and what came out. This file imports nothing of the package."""

from __future__ import annotations

from dataclasses import dataclass

PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the demonstration is to do.

    Attributes:
        seeds: How many times each network is trained, each time from other weights and in another order of the data.
        epochs: Passes over the training images.
        batch_size: Images in one step.
        learning_rate: Largest learning rate of the schedule, the same for all ways.
        widths: Bits of the compressed ways.
    """

    seeds: int = 3
    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 6e-3
    widths: tuple[int, ...] = (8, 4, 2)

    def __post_init__(self) -> None:
        for name in ("seeds", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")

    @property
    def ways(self) -> tuple[int | None, ...]:
        """Bits of every way that a network is trained, None for plain autograd."""
        return (None, *self.widths)


def way_name(bits: int | None) -> str:
    """The name of a way in the table and the picture."""
    return PLAIN if bits is None else f"{bits} bits"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Live tensor bytes over one training step.

    Attributes:
        phases: Name of each phase: forward, backward, optimizer.
        samples: Per phase, the live bytes after each operation.
    """

    phases: tuple[str, ...]
    samples: tuple[tuple[int, ...], ...]

    @property
    def peak(self) -> int:
        """The largest of all samples."""
        return max(max(phase, default=0) for phase in self.samples)


@dataclass(frozen=True, slots=True)
class Training:
    """One way's training from one seed.

    Attributes:
        losses: Training loss of each step.
        seconds: Time of each step: forward, backward and optimizer.
        accuracy: Share of test images classified rightly, 0 to 1.
    """

    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    accuracy: float


@dataclass(frozen=True, slots=True)
class WayResult:
    """Everything about one way of training one network.

    Attributes:
        bits: Width of the codes; None for plain autograd.
        plain_bytes: Bytes that plain autograd keeps after forward, each storage once, parameters left out.
        kept_bytes: Bytes kept after forward, metadata included; ``plain_bytes`` for the plain way.
        timeline: Live tensor bytes over one step.
        step_ratio: Median over all steps of this way's step time divided by plain's at the same step; 1 for plain.
        trainings: One for each seed.
    """

    bits: int | None
    plain_bytes: int
    kept_bytes: int
    timeline: Timeline
    step_ratio: float
    trainings: tuple[Training, ...]

    @property
    def ratio(self) -> float:
        """Compression ratio."""
        return self.plain_bytes / self.kept_bytes


@dataclass(frozen=True, slots=True)
class NetworkResult:
    """All ways of one network.

    Attributes:
        name: Name of the network.
        parameters: Number of its parameters.
        ways: Plain first.
    """

    name: str
    parameters: int
    ways: tuple[WayResult, ...]
