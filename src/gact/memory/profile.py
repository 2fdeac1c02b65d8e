"""Measures the memory of one training step after every operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..autograd.inner import in_backward
from ..autograd.internals import current_node
from ..autograd.modules import follow, unfollow
from ..page import KINDS
from .figures import Holder, Sample
from .live import LiveTensors
from .report import MemoryProfile
from .resident import ResidentPeak, resident_bytes

PHASES = ("forward", "backward", "after")


class Maker(NamedTuple):
    """Who made a tensor."""

    phase: str
    module: str
    op: str


BEFORE = Maker("before", "", "alive before the step")


def kind_of(maker: Maker) -> str:
    """What tensors of a maker are: one of ``KINDS``."""
    return "codes" if maker.phase == PHASES[0] and maker.op.startswith("gact.") else maker.phase


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
    profiler = StepProfiler(model, tensors)
    with profiler:
        step()
    return profiler.profile()


def _holders(alive: list[tuple[int, Maker]]) -> tuple[Holder, ...]:
    counts: dict[Maker, list[int]] = {}
    for size, maker in alive:
        figures = counts.setdefault(maker, [0, 0])
        figures[0] += 1
        figures[1] += size
    found = [Holder(*maker, count, size) for maker, (count, size) in counts.items() if size]
    return tuple(sorted(found, key=lambda holder: -holder.nbytes))


class StepProfiler(LiveTensors):
    """Labels tensors with their makers, and remembers what was alive at the peak: ``profile_step`` as a context.

    Args:
        model: As for ``profile_step``.
        tensors: As for ``profile_step``.
    """

    def __init__(self, model: nn.Module | None, tensors: Iterable[Tensor]) -> None:
        self._kinds = dict.fromkeys(KINDS, 0)
        super().__init__()
        known = list(tensors)
        if model is not None:
            known += [*model.parameters(), *model.buffers()]
            known += [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        for tensor in known:
            self.add(tensor, BEFORE)
        self._cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
        self.samples: list[Sample] = []
        self.start_bytes = self.live_bytes
        self.at_peak: list[tuple[int, Maker]] = self.alive()
        self.resident_start = resident_bytes()
        self.resident_peaks: dict[str, int] = {}
        self._highest = self.start_bytes
        self._phase = PHASES[0]
        self._again = False  # a forward pass has begun after a backward pass, as where gradients are accumulated
        self._resident = ResidentPeak()
        self._paths = {} if model is None else {module: path for path, module in model.named_modules()}
        self._running: list[nn.Module] = []

    def profile(self) -> MemoryProfile:
        """The measurements."""
        return MemoryProfile(
            samples=tuple(self.samples),
            holders=_holders(self.at_peak),
            start_bytes=self.start_bytes,
            allocator_peak=torch.cuda.max_memory_allocated() if self._cuda else None,
            resident_start=self.resident_start,
            resident_peaks=self.resident_peaks,
        )

    def __enter__(self) -> StepProfiler:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        follow(self)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        unfollow(self)
        self._note_resident()

    def module_begins(self, module: nn.Module) -> None:
        """What follows is the work of a module."""
        self._again = self._again or (self._phase != PHASES[0] and torch.is_grad_enabled() and not in_backward())
        self._running.append(module)

    def module_ends(self, module: nn.Module) -> None:
        """What follows is the work of the module around it."""
        while self._running and self._running.pop() is not module:
            pass

    def _note_resident(self) -> None:
        peak = self._resident.read()
        if peak is not None:
            self.resident_peaks[self._phase] = max(peak, self.resident_peaks.get(self._phase, 0))
            self._resident.reset()

    def _phase_now(self) -> str:
        if in_backward():
            self._again = False
            return "backward"
        return "forward" if self._phase == "forward" or self._again else "after"

    def label(self, func: Callable[..., Any]) -> Maker:
        """The phase, the module and the operation."""
        phase = self._phase_now()
        if phase != self._phase:
            self._note_resident()
            self._phase = phase
        op = str(func).removeprefix("aten.").split(".", maxsplit=1)[0] if "aten." in str(func) else str(func)
        node = current_node() if phase == "backward" else None
        if node is not None:
            op = f"{op} ({node.name()})"
        running = self._running[-1] if self._running else None
        module = "" if running is None else self._paths.get(running, f"<{type(running).__name__}>")
        return Maker(phase, module, op)

    def count(self, nbytes: int, label: Maker) -> None:
        """Counts by kind too."""
        super().count(nbytes, label)
        self._kinds[kind_of(label)] += nbytes

    def after(self, func: Callable[..., Any], args: tuple[Any, ...], results: Any, label: Maker) -> None:
        """Takes a sample."""
        self.samples.append(Sample(label.phase, label.op, self.live_bytes, label.module, tuple(self._kinds.values())))
        if self.live_bytes > self._highest:
            self._highest, self.at_peak = self.live_bytes, self.alive()
