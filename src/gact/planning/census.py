"""What each block of a network holds and computes in one step, counted in runs without data."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..autograd.inner import in_backward
from ..autograd.internals import current_node, next_sequence_number, tree_leaves
from ..checkpoint.blocks import find_blocks
from .predict import Predictor, Way

REST = ""
"""Name of what lies in no block."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block, or all that lies in none.

    Attributes:
        name: Path of the module; ``""`` for all that lies in no block.
        plain: Bytes that plain autograd keeps for it.
        kept: Bytes that a compressor keeps instead, by width.
        values: Of the plain bytes, those that are held in codes.
        boundary: Bytes of its inputs, those of earlier blocks left out.
        flops: Floating-point operations of its forward.
        moved: Bytes that its forward reads and writes.
    """

    name: str
    plain: int
    kept: Mapping[int, int]
    values: int
    boundary: int = 0
    flops: float = 0.0
    moved: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the step: the forward and backward of one block, or what lies between two.

    Attributes:
        block: Index of the block; None between blocks.
        held: How many blocks have run forward by then, this one included.
        base: Highest bytes alive in it, less what plain autograd keeps for those blocks.
    """

    block: int | None
    held: int
    base: int


@dataclass(frozen=True, slots=True)
class Census:
    """What a step consists of.

    Attributes:
        blocks: The blocks in the order in which they run.
        rest: What lies in none.
        windows: Parts of the step.
        flops: Floating-point operations of forward and backward.
        moved: Bytes that they read and write.
    """

    blocks: tuple[Block, ...]
    rest: Block
    windows: tuple[Window, ...]
    flops: float
    moved: float


def owner_of(module: str, blocks: tuple[str, ...]) -> str:
    """Name of the block in which a module lies; ``REST`` for none."""
    for name in blocks:
        if module == name or module.startswith(f"{name}."):
            return name
    return REST


def take_census(predictor: Predictor, widths: tuple[int, ...]) -> Census:
    """Counts a step of the example: once plainly, and once for each width.

    Args:
        predictor: Runs the step.
        widths: Widths of codes to count.
    """
    model = predictor.subject.model
    try:
        modules = find_blocks(model)
    except ValueError:
        modules = {}
    follower = _Follower(modules)
    with follower:
        predictor.follow(Way(), watch=follower.watch)
    order = tuple(dict.fromkeys(follower.order))
    plain, kept, values = dict.fromkeys((*order, REST), 0), {width: dict[str, int]() for width in widths}, {}
    for width in widths:
        compressor = predictor.run(Way(compress=True, bits=width)).compressor
        assert compressor is not None
        plain, values = dict.fromkeys((*order, REST), 0), dict.fromkeys((*order, REST), 0)
        kept[width] = dict.fromkeys((*order, REST), 0)
        for row in compressor.report().rows:
            owner = owner_of(row.module, order)
            plain[owner] += row.plain_bytes
            kept[width][owner] += row.kept_bytes
            values[owner] += row.plain_bytes if row.codec != "keep" else 0
    blocks = {
        name: Block(
            name,
            plain[name],
            {width: kept[width][name] for width in widths},
            values[name],
            follower.boundaries.get(name, 0),
            *follower.forward.get(name, (0.0, 0.0)),
        )
        for name in (*order, REST)
    }
    rest = blocks.pop(REST)
    return Census(tuple(blocks.values()), rest, follower.windows(blocks, rest), *follower.total)


class _Follower:
    """Watches a plain step and tells the blocks apart.

    NOTE: Backward
    Nodes carry the number that counted when forward made them, so the block of a node is the one that was running.

    NOTE: Inputs
    A block's inputs may be keyword arguments, which hooks of all modules do not see, so each block has its own hooks.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.order: list[str] = []
        self.forward: dict[str, tuple[float, float]] = {}
        self.boundaries: dict[str, int] = {}
        self.total = (0.0, 0.0)
        self._modules = modules
        self._seen: set[int] = set()
        self._starts = [0]
        self._names = [REST]
        self._held = [0]
        self._peaks = [0]
        self._at = 0
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> _Follower:
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_pre_hook(self._begins(name), with_kwargs=True))
            self._handles.append(module.register_forward_hook(lambda *_: self._open(REST), always_call=True))
        return self

    def __exit__(self, *exception: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def _begins(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
            fresh = sum(size for key, size in storages.items() if key not in self._seen)
            self._seen.update(storages)
            self.boundaries[name] = self.boundaries.get(name, 0) + fresh
            self.order.append(name)
            self._open(name)

        return hook

    def _open(self, name: str) -> None:
        self._starts.append(next_sequence_number())
        self._names.append(name)
        self._held.append(len(dict.fromkeys(self.order)))
        self._peaks.append(0)
        self._at = len(self._starts) - 1

    def watch(self, func: Any, args: tuple[Any, ...], results: Any, live: int) -> None:
        """Adds one operation."""
        backward = in_backward()
        if backward:
            node = current_node()
            number = node._sequence_nr() if node is not None else 2**63
            if number < 2**62:  # nodes that accumulate gradients have no number of their own
                self._at = bisect_right(self._starts, number) - 1
        self._peaks[self._at] = max(self._peaks[self._at], live)
        flops, moved = _work(func, args, results)
        self.total = (self.total[0] + flops, self.total[1] + moved)
        name = self._names[self._at]
        if not backward and name != REST:
            before = self.forward.get(name, (0.0, 0.0))
            self.forward[name] = (before[0] + flops, before[1] + moved)

    def windows(self, blocks: Mapping[str, Block], rest: Block) -> tuple[Window, ...]:
        """The parts of the step, with what is alive in them beside what is held for blocks."""
        names = list(blocks)
        found = []
        for name, held, peak in zip(self._names, self._held, self._peaks, strict=True):
            if peak:
                plain = rest.plain + sum(blocks[each].plain for each in names[:held])
                found.append(Window(names.index(name) if name in blocks else None, held, peak - plain))
        return tuple(found)


def _work(func: Any, args: tuple[Any, ...], results: Any) -> tuple[float, float]:
    """Floating-point operations of a call, and bytes that it reads and writes; views do neither."""
    if getattr(func, "is_view", False):
        return 0.0, 0.0
    tensors = [leaf for leaf in tree_leaves((args, results)) if isinstance(leaf, Tensor)]
    moved = sum(tensor.nbytes for tensor in tensors if tensor.layout is torch.strided)
    from torch.utils.flop_counter import flop_registry  # loads triton, which nobody else needs

    count = flop_registry.get(getattr(func, "overloadpacket", None))
    if count is None:
        return 0.0, float(moved)
    try:
        return float(count(*args, out_val=results)), float(moved)
    except Exception:  # keyword arguments the formula needs: the bytes still count
        return 0.0, float(moved)
