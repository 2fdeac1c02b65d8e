"""One training step as a line of live bytes over time, with what was alive at the peak."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from ..autograd.inner import in_backward
from .live import LiveTensors
from .resident import ResidentPeak, resident_bytes

PHASES = ("forward", "backward", "after")


class Maker(NamedTuple):
    """Who made a tensor."""

    phase: str
    module: str
    op: str


BEFORE = Maker("before", "", "alive before the step")


@dataclass(frozen=True, slots=True)
class Sample:
    """The moment after one operation.

    Attributes:
        phase: ``"forward"``, ``"backward"`` or ``"after"`` (what follows backward: the optimizer).
        op: The operation.
        live_bytes: Bytes of all tensors alive.
    """

    phase: str
    op: str
    live_bytes: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Tensors of one maker that are alive at the peak.

    Attributes:
        phase: When they were made; ``"before"`` for what was there.
        module: Path of the module that was running, in forward.
        op: The operation that made them, in backward with the name of the node.
        count: Storages.
        nbytes: Their bytes.
    """

    phase: str
    module: str
    op: str
    count: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class MemoryProfile:
    """Where the memory of a step went.

    Attributes:
        samples: One for each operation, in order.
        holders: What was alive at the peak, the largest first.
        start_bytes: Bytes of tensors known at the start.
        allocator_peak: Highest bytes of torch's CUDA allocator; None without CUDA.
        resident_start: Bytes of the process in memory at the start; None where the system does not tell.
        resident_peaks: Highest bytes of the process in memory, by phase; empty where the system does not tell.
    """

    samples: tuple[Sample, ...]
    holders: tuple[Holder, ...]
    start_bytes: int
    allocator_peak: int | None
    resident_start: int | None
    resident_peaks: dict[str, int]

    @property
    def peak_bytes(self) -> int:
        """Highest bytes of tensors alive at one time."""
        return max((sample.live_bytes for sample in self.samples), default=self.start_bytes)

    @property
    def peak(self) -> Sample | None:
        """The first moment of the peak."""
        return next((sample for sample in self.samples if sample.live_bytes == self.peak_bytes), None)

    @property
    def phase_peaks(self) -> dict[str, int]:
        """Highest bytes of tensors alive, by phase."""
        return {
            phase: max(sample.live_bytes for sample in self.samples if sample.phase == phase)
            for phase in dict.fromkeys(sample.phase for sample in self.samples)
        }

    @property
    def resident_peak(self) -> int | None:
        """Highest bytes of the process in memory during the step."""
        return max(self.resident_peaks.values(), default=None)

    def to_json(self, indent: int | None = 2) -> str:
        """All figures as JSON."""
        totals = {"peak_bytes": self.peak_bytes, "phase_peaks": self.phase_peaks, "resident_peak": self.resident_peak}
        return json.dumps({**totals, **asdict(self)}, indent=indent)

    def to_html(self) -> str:
        """A page without scripts: memory over time as a picture, and what was alive at the peak."""
        from .page import render

        return render({"": self})

    def __str__(self) -> str:
        from .page import table

        return table(self)


def profile_step(
    step: Callable[[], Any], model: nn.Module | None = None, tensors: Iterable[Tensor] = ()
) -> MemoryProfile:
    """Runs one training step and measures its memory after every operation.

    The first step of a process makes workspaces and optimizer state: run one before. The step itself is the same with
    and without the measurement, only slower.

    Args:
        step: Runs forward, backward and what follows, and should return nothing: what it returns stays alive.
        model: Its parameters, buffers and gradients count from the start, and its modules are named.
        tensors: What else is alive and counts from the start, such as the batch. Other tensors count from when the
            step first uses them.

    Returns:
        The measurements.
    """
    known = list(tensors)
    if model is not None:
        known += [*model.parameters(), *model.buffers()]
        known += [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    follower = _Follower(model, known)
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with follower:
        step()
    return MemoryProfile(
        samples=tuple(follower.samples),
        holders=_holders(follower.at_peak),
        start_bytes=follower.start_bytes,
        allocator_peak=torch.cuda.max_memory_allocated() if cuda else None,
        resident_start=follower.resident_start,
        resident_peaks=follower.resident_peaks,
    )


def _holders(alive: list[tuple[int, Maker]]) -> tuple[Holder, ...]:
    counts: dict[Maker, list[int]] = {}
    for size, maker in alive:
        figures = counts.setdefault(maker, [0, 0])
        figures[0] += 1
        figures[1] += size
    found = [Holder(*maker, count, size) for maker, (count, size) in counts.items() if size]
    return tuple(sorted(found, key=lambda holder: -holder.nbytes))


class _Follower(LiveTensors):
    """Labels tensors with their makers, and remembers what was alive at the peak."""

    def __init__(self, model: nn.Module | None, known: list[Tensor]) -> None:
        super().__init__()
        for tensor in known:
            self.add(tensor, BEFORE)
        self.samples: list[Sample] = []
        self.start_bytes = self.live_bytes()
        self.at_peak: list[tuple[int, Maker]] = self.alive()
        self.resident_start = resident_bytes()
        self.resident_peaks: dict[str, int] = {}
        self._highest = self.start_bytes
        self._phase = PHASES[0]
        self._resident = ResidentPeak()
        self._paths = {} if model is None else {module: path for path, module in model.named_modules()}
        self._running: list[nn.Module] = []
        self._handles: list[Any] = []

    def __enter__(self) -> _Follower:
        self._handles = [
            register_module_forward_pre_hook(lambda module, _: self._running.append(module)),
            register_module_forward_hook(self._ends, always_call=True),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()
        self._note_resident()

    def _ends(self, module: nn.Module, _inputs: Any, _outputs: Any) -> None:
        while self._running and self._running.pop() is not module:
            pass

    def _note_resident(self) -> None:
        peak = self._resident.read()
        if peak is not None:
            self.resident_peaks[self._phase] = max(peak, self.resident_peaks.get(self._phase, 0))
            self._resident.reset()

    def _phase_now(self) -> str:
        if in_backward():
            return "backward"
        return "forward" if self._phase == "forward" else "after"

    def label(self, func: Callable[..., Any]) -> Maker:
        """The phase, the module and the operation."""
        phase = self._phase_now()
        if phase != self._phase:
            self._note_resident()
            self._phase = phase
        op = str(func).removeprefix("aten.").split(".", maxsplit=1)[0] if "aten." in str(func) else str(func)
        node = torch._C._current_autograd_node() if phase == "backward" else None
        if node is not None:
            op = f"{op} ({node.name()})"
        running = self._running[-1] if self._running else None
        module = "" if running is None else self._paths.get(running, f"<{type(running).__name__}>")
        return Maker(phase, module, op)

    def after(self, label: Maker) -> None:
        """Takes a sample."""
        live = self.live_bytes()
        self.samples.append(Sample(label.phase, label.op, live))
        if live > self._highest:
            self._highest, self.at_peak = live, self.alive()
