"""The operators that edited graphs call: ``gact::pack``, ``gact::unpack`` and ``gact::note``.

NOTE: Handles
``pack`` returns a handle, eight bytes in host memory whose storage owns a Python object: what holds the value. Autograd
holds the handle as it holds any saved tensor, and with the last reference to its storage the codes are freed. So the
graphs know nothing of widths, seeds, stores or sizes of codes, all of which are decided at run time, and no symbolic
size comes into them. A handle that was copied still names the object, and says so if that is gone.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..ops.schema import LIBRARY

COUNTED = "counted"
"""Need of a value that is made of integers and truth values alone: it may have a code without loss."""
ADDS = "adds"
"""Precedes the dimension along which a value adds to one, and whether that is sure."""
TURN = "turn"
"""Precedes the distance within which what is made of a value turns, and how many values it stands for."""
_BYTES = 8
_SCHEMAS = (
    "pack(Tensor x, str site, str need, float plain, bool shared, Tensor? score=None) -> Tensor",
    "unpack(Tensor handle, SymInt[] size, SymInt[] stride, ScalarType dtype, Device device) -> Tensor",
    "note(Tensor[] kept, str sites, int parameters) -> Tensor",
)


class Saved(Protocol):
    """What a handle owns."""

    def restore(self) -> Tensor:
        """The value, in memory that nobody else has."""
        ...


class Receiver(Protocol):
    """Who holds the values that compiled code saves on a thread."""

    def pack(self, x: Tensor, site: str, need: str, plain: float, shared: bool, score: Tensor | None) -> Saved:
        """Holds a value."""
        ...

    def note(self, kept: Sequence[Tensor], sites: str, parameters: int) -> Any:
        """Counts what is saved as it is; what it returns lives as long as the graph."""
        ...


class _Here(threading.local):
    receiver: Receiver | None = None


_HERE = _Here()


def serve(receiver: Receiver | None) -> None:
    """Has compiled code on this thread hold its values with somebody.

    Args:
        receiver: Who; None for nobody.
    """
    _HERE.receiver = receiver


class _Copy:
    """A value as it is: what code compiled for a context holds where none is open."""

    def __init__(self, x: Tensor) -> None:
        self._x = x.clone()

    def restore(self) -> Tensor:
        return self._x.clone()


class _Owner(bytearray):
    """The memory of a handle, which owns what holds the value."""

    saved: Any
    place: int


_owners: weakref.WeakValueDictionary[int, _Owner] = weakref.WeakValueDictionary()
_numbers = itertools.count()


def _handle(saved: Any) -> Tensor:
    number = next(_numbers)
    owner = _Owner(number.to_bytes(_BYTES, "little"))
    owner.saved = saved
    _owners[number] = owner
    handle = torch.frombuffer(owner, dtype=torch.uint8)
    owner.place = handle.data_ptr()
    return handle


def owned(held: object) -> Any:
    """What a handle owns that autograd holds; None for everything else."""
    if not isinstance(held, Tensor) or held.dtype != torch.uint8 or held.shape != (_BYTES,) or not held.is_cpu:
        return None
    owner = _owners.get(int.from_bytes(bytes(held.tolist()), "little"))
    return None if owner is None or owner.place != held.data_ptr() else owner.saved


def _saved(handle: Tensor) -> Any:
    number = int.from_bytes(bytes(handle.tolist()), "little")
    owner = _owners.get(number)
    if owner is None:
        raise RuntimeError(
            f"gact::unpack got a handle whose value is gone (number {number}). A handle is what gact::pack returned; a "
            "copy of it is none. Run forward again before this backward."
        )
    return owner.saved


def pack(x: Tensor, site: str, need: str, plain: float, shared: bool, score: Tensor | None = None) -> Tensor:
    """Holds a value for backward.

    Args:
        x: The value.
        site: Module, op, call and slot, divided by ``|``.
        need: ``"value"``, a least width such as ``"value 8"``, that, a distance within which what is made of it turns
            and how many values it stands for (``"value 6 turn 0.5 3"``), or ``"exact"``; ``COUNTED`` in the place of
            value; ``"_log_softmax 1"`` for what log-softmax gave over that dimension.
        plain: Bytes that plain compiled code would hold for each byte of the value.
        shared: Whether the value is an input or a result of the compiled code, which others may save as well.
        score: Square of the largest score of attention over five; above 1 the value is exact.

    Returns:
        A handle.
    """
    receiver = _HERE.receiver
    if receiver is None:
        return _handle(_Copy(x))
    return _handle(receiver.pack(x, site, need, plain, shared, score))


def unpack(
    handle: Tensor, size: Sequence[int], stride: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The value that a handle stands for, in fresh memory.

    Args:
        handle: What ``pack`` returned.
        size: Size of the value.
        stride: The stride that the result shall have.
        dtype: Its dtype.
        device: Its device.
    """
    value: Tensor = _saved(handle).restore()
    if value.stride() == tuple(stride):
        return value
    return torch.empty_strided(size, stride, dtype=dtype, device=device).copy_(value)


def note(kept: Sequence[Tensor], sites: str, parameters: int) -> Tensor:
    """Counts what compiled code saves as it is.

    Args:
        kept: The tensors.
        sites: A line for each: module, op, call, slot, reason and the bytes that plain code holds in its place for each
            byte of it, empty if it holds the tensor itself, divided by ``|``.
        parameters: How many parameters and buffers are saved besides.

    Returns:
        A handle, by which the step lives as long as the graph.
    """
    receiver = _HERE.receiver
    return _handle(None if receiver is None else receiver.note(kept, sites, parameters))


def _fake_handle(*arguments: Any) -> Tensor:
    return torch.empty(_BYTES, dtype=torch.uint8, device="cpu")


def _fake_unpack(
    handle: Tensor, size: Sequence[int], stride: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    return torch.empty_strided(size, stride, dtype=dtype, device=device)


def _define() -> None:
    fakes = {"pack": _fake_handle, "unpack": _fake_unpack, "note": _fake_handle}
    for schema, kernel in zip(_SCHEMAS, (pack, unpack, note), strict=True):
        name = kernel.__name__
        # Values are taken in whatever order of dimensions the code has them in: unpack gives the order it is asked for.
        LIBRARY.define(schema, tags=(torch.Tag.flexible_layout,))
        torch.library.register_fake(f"gact::{name}", fakes[name], lib=LIBRARY)
        LIBRARY.impl(name, torch.library.fallthrough_kernel, "Autograd")
        LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")


_define()
