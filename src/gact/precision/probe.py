"""Backward passes over a retained graph, each compared with the first.

NOTE: Backward only
Codes change nothing in forward, so what a rounding does to the gradient is seen by running backward again on the
graph of the step: no second forward, no closure, no statistics of batch normalisation touched. The passes go through
``torch.autograd.grad``, which accumulates into no ``grad`` and fires none of the hooks by which
``DistributedDataParallel`` reduces. Each leaf's gradient is read in a hook, at a sample of its elements, and let go
of at once, so that there is never a second copy of the whole gradient.

NOTE: Hooks of users
Hooks on tensors (leaves too), on nodes and on modules (``register_full_backward_hook``) may change the gradient, and
may have effects. Which of them run is told in ``hooks``. What hangs on the accumulation of a gradient is not reached.
"""

from __future__ import annotations

import base64
import contextlib
import io
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..autograd.internals import graph_task
from .figures import brought
from .graph import Roots, leaves_of

SAMPLES = 1 << 15
"""Elements of a leaf's gradient that are read: all up to twice as many, evenly spread ones of a larger gradient."""
_KEPT = 1 << 10
"""The same for what is kept of a gradient until the next step."""
_TRIES = 8
_running: set[int] = set()
"""Backward passes of ours, by autograd's own number: hooks may run on another thread than the one that began them."""
_callers: set[int] = set()
"""Threads that began them, on which a hook on the loss itself runs before the number is known."""


def is_measuring() -> bool:
    """Whether a backward pass of a measurement is running, as opposed to the step's own.

    For hooks on tensors and modules that change the gradient, and count, log or send besides. A step that measures
    calls those several times that ask, that only return a gradient, or that ``register_repeatable`` was given.
    """
    return graph_task() in _running or threading.get_ident() in _callers


class Probe:
    """The gradient of what a pass begins with, at a sample of its elements; making it runs backward once.

    Args:
        roots: Where it begins.
        leaves: Tensors whose gradients are read.
        put_back: Called after each pass: has the next one see what this one saw.

    Attributes:
        passes: Backward passes run so far.
        energy: Squared norm of each leaf's gradient, float64 of shape [leaves], on the CPU.
        numel: Elements of each leaf's gradient, float64 of shape [leaves].
    """

    def __init__(self, roots: Roots, leaves: Sequence[Tensor], put_back: Callable[[], None]) -> None:
        self.passes = 0
        self._roots = roots
        self._put_back = put_back
        self._leaves = list(leaves)
        self._numel: list[int] = [0] * len(leaves)
        self._kept: list[Tensor | None] | None = [None] * len(leaves)
        self._base = self._run()
        self._snapshot, self._kept = Snapshot(self._leaves, self._kept, self._numel), None
        self.energy = self._energies(self._base, [None] * len(leaves))
        self.numel = torch.tensor(self._numel, dtype=torch.float64)

    def snapshot(self) -> Snapshot:
        """What was read of the gradient, without the graph."""
        return self._snapshot

    def compare(self) -> Tensor:
        """Runs backward again: |g - g0|^2 of each leaf, float64 of shape [leaves], on the CPU."""
        return self._energies(self._run(), self._base)

    def _run(self) -> list[Tensor | None]:
        self.passes += 1
        read: list[Tensor | None] = [None] * len(self._leaves)
        started: list[int] = []
        handles = [leaf.register_hook(self._reader(read, index, started)) for index, leaf in enumerate(self._leaves)]
        handles += [node.register_prehook(lambda _: _start(started)) for node in self._roots.nodes]
        _callers.add(threading.get_ident())
        try:
            torch.autograd.grad(
                self._roots.of,  # type: ignore[arg-type]
                self._leaves,
                self._roots.gradients,
                retain_graph=True,
                allow_unused=True,
            )
        finally:
            _callers.discard(threading.get_ident())
            _running.difference_update(started)
            for handle in handles:
                handle.remove()
            self._put_back()
        return read

    def _reader(
        self, read: list[Tensor | None], index: int, started: list[int]
    ) -> Callable[[Tensor | None], Tensor | None]:
        def hook(gradient: Tensor | None) -> Tensor | None:
            if gradient is None or graph_task() not in started:
                return gradient  # of a pass that another thread runs over the same leaves
            read[index], self._numel[index] = _sample(gradient, SAMPLES)
            if self._kept is not None:
                self._kept[index], _ = _memento(gradient)
            # What autograd would hand back is of no use to anybody: something that takes no memory.
            return gradient.new_zeros(()).expand_as(gradient) if gradient.layout is torch.strided else gradient

        return hook

    def _energies(self, read: Sequence[Tensor | None], base: Sequence[Tensor | None]) -> Tensor:
        return _energies(read, base, self._numel)


def _start(started: list[int]) -> None:
    started.append(graph_task())
    _running.update(started)


class Snapshot:
    """A sample of one gradient, to be compared with the next batch's.

    Args:
        leaves: The leaves.
        read: What was read of the gradient of each.
        numel: How many elements each gradient has.

    Attributes:
        tries: How many losses are still looked at for one that depends on the same leaves.
    """

    def __init__(self, leaves: Sequence[Tensor], read: Sequence[Tensor | None], numel: Sequence[int]) -> None:
        self._leaves = [weakref.ref(leaf) for leaf in leaves]
        self._read = list(read)
        self._numel = list(numel)
        self._next: list[Tensor | None] = [None] * len(leaves)
        self._fits = False
        self.tries = _TRIES

    def state(self, names: Mapping[int, str]) -> dict[str, Any] | None:
        """The sample in plain numbers and texts; None if it is of a leaf without a name.

        Args:
            names: Names of leaves by their ``id``.
        """
        leaves = [names.get(id(reference())) for reference in self._leaves]
        if None in leaves:
            return None
        file = io.BytesIO()
        torch.save([None if each is None else each.cpu() for each in self._read], file)
        read = base64.b64encode(file.getvalue()).decode()
        return {"leaves": leaves, "numel": list(self._numel), "tries": self.tries, "read": read}

    @classmethod
    def of_state(cls, state: Mapping[str, Any], named: Mapping[str, Tensor]) -> Snapshot | None:
        """The snapshot whose ``state`` this is; None if there are no such leaves any more.

        Args:
            state: The state.
            named: Leaves by name.

        Raises:
            ValueError: If it is no such state.
            KeyError: If something is missing in it.
        """
        leaves = [named.get(str(name)) for name in state["leaves"]]
        try:
            read = torch.load(io.BytesIO(base64.b64decode(state["read"])), weights_only=True)
            numel = [int(each) for each in state["numel"]]
            if not len(read) == len(numel) == len(leaves):
                raise ValueError(f"{len(read)} samples and {len(numel)} sizes of {len(leaves)} gradients")
        except Exception as error:  # whatever is raised for bytes that are none of torch's
            raise ValueError(f"a sample of the gradient that cannot be read: {error!r}") from error
        found = [leaf for leaf in leaves if leaf is not None]
        if len(found) < len(leaves):
            return None
        on = [None if each is None else each.to(leaf.device) for each, leaf in zip(read, found, strict=True)]
        snapshot = cls(found, on, numel)
        snapshot.tries = int(state["tries"])
        return snapshot

    @contextlib.contextmanager
    def next_gradient(self, roots: Roots) -> Iterator[None]:
        """Reads the gradient of a backward pass that is run meanwhile, and changes nothing.

        Args:
            roots: It is read only if they depend on the same leaves: a network may have several losses, by turns.
        """
        self._fits = {id(each()) for each in self._leaves} == {id(leaf.tensor) for leaf in leaves_of(roots)}
        with self._reading(roots, self._next) if self._fits else contextlib.nullcontext():
            yield

    @contextlib.contextmanager
    def own_gradient(self, roots: Roots) -> Iterator[None]:
        """Reads the gradient of the same pass anew, with the hooks of users that rested while it was measured."""
        read: list[Tensor | None] = [None] * len(self._read)
        with self._reading(roots, read):
            yield
        self._read = [old if new is None else new for old, new in zip(self._read, read, strict=True)]

    @contextlib.contextmanager
    def _reading(self, roots: Roots, into: list[Tensor | None]) -> Iterator[None]:
        started: list[int] = []
        handles = [node.register_prehook(lambda _: started.append(graph_task())) for node in roots.nodes]
        for index, reference in enumerate(self._leaves):
            leaf = reference()
            if leaf is not None and leaf.requires_grad:
                handles.append(leaf.register_hook(self._reader(into, index, started)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _reader(self, into: list[Tensor | None], index: int, started: list[int]) -> Callable[[Tensor | None], None]:
        def hook(gradient: Tensor | None) -> None:
            if gradient is None or graph_task() not in started:
                return  # of a pass that another thread runs over the same leaves
            into[index], self._numel[index] = _memento(gradient)

        return hook

    def variance(self) -> float:
        """Variance of a batch's gradient over batches, relative to the squared norm: 1 - <g, g'> / |g||g'|.

        That is half of |g - g'|^2 / |g|^2 with both gradients brought to one norm, so that the scale of the loss may
        differ, as it does after an overflow under ``GradScaler``.

        Returns:
            NaN if the last gradient was not one to compare with.
        """
        if not self._fits:
            return math.nan
        unit = [_energies(read, [None] * len(read), self._numel) for read in (self._read, self._next)]
        norms = [float(each.sum()) ** 0.5 for each in unit]
        if min(norms) <= 0 or not all(map(math.isfinite, norms)):
            return math.nan
        scaled = [
            [None if each is None else each.double() / norm for each in read]
            for read, norm in zip((self._read, self._next), norms, strict=True)
        ]
        return float(_energies(scaled[0], scaled[1], self._numel).sum()) / 2


def _sample(gradient: Tensor, most: int) -> tuple[Tensor, int]:
    """Evenly spread elements of a gradient, ``most`` or up to twice as many, and how many it has."""
    values = _values(gradient.detach())
    return values.reshape(-1)[:: _spacing(values, most)].clone(), values.numel()


def _memento(gradient: Tensor) -> tuple[Tensor, int]:
    """What is kept of a gradient until the next one: few elements, and half of each."""
    few, numel = _sample(gradient, _KEPT)
    return few.bfloat16() if few.dtype == torch.float32 else few, numel


def _energies(read: Sequence[Tensor | None], base: Sequence[Tensor | None], numel: Sequence[int]) -> Tensor:
    """Squared distance of two sets of samples, scaled up from the sample to the whole of each leaf."""
    sums = []
    for now, then, count in zip(read, base, numel, strict=True):
        if now is None or (then is not None and then.numel() != now.numel()):
            sums.append(torch.zeros((), dtype=torch.float64))
            continue
        difference = now.double() if then is None else now.double() - then.double()
        sums.append(difference.square().sum() * (count / max(now.numel(), 1)))
    if not sums:
        return torch.zeros(0, dtype=torch.float64)
    return torch.stack(brought(sums))


def _values(gradient: Tensor) -> Tensor:
    if gradient.layout is torch.sparse_coo:
        return gradient.coalesce().values()
    if gradient.layout is not torch.strided:
        return gradient.to_dense()
    if gradient.dim() == 2 and not gradient.is_contiguous():
        return gradient.t()  # as matrix products leave the gradients of weights
    return gradient


def _spacing(gradient: Tensor, most: int) -> int:
    """Every how many elements a gradient is read: prime to its rows' length and number, so that none is missed."""
    spacing = max(gradient.numel() // most, 1)
    shape = gradient.shape[0] * gradient.shape[-1] if gradient.dim() else 1
    while math.gcd(spacing, shape) > 1:
        spacing += 1
    return spacing
