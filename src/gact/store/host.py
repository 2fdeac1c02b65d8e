"""The store that moves data from a device to pinned host memory, beside the computation."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

import torch
from torch import Tensor

from ..forks import new_lock
from .base import Parts
from .device import Held
from .prefetch import Order, Place

_AHEAD = 4
"""Entries that are brought back ahead of the one that is asked for."""


class Transfer(Protocol):
    """Copies between a device and the host, started without waiting."""

    def out(self, tensor: Tensor) -> Any:
        """Starts to copy a tensor to the host; what is returned stands for the copy."""
        ...

    def back(self, copy: Any, device: torch.device) -> tuple[Tensor, Any]:
        """Starts to copy back to the device; the tensor, and what ``wait`` takes."""
        ...

    def wait(self, tensor: Tensor, arrival: Any) -> None:
        """Has the computation that is queued next wait for the arrival of a tensor."""
        ...


class CudaTransfer:
    """Copies on a stream of its own, into pinned memory. No call waits for the device.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def out(self, tensor: Tensor) -> Tensor:
        """Starts to copy a tensor to pinned memory, after all that is queued already."""
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(self._stream):
            host.copy_(tensor, non_blocking=True)
        # The allocator must not hand out the memory of the tensor before the copy has read it.
        tensor.record_stream(self._stream)
        return host

    def back(self, copy: Tensor, device: torch.device) -> tuple[Tensor, torch.cuda.Event]:
        """Starts to copy pinned memory to the device; on the same stream, so after the copy out."""
        with torch.cuda.stream(self._stream):
            tensor = copy.to(device, non_blocking=True)
            return tensor, self._stream.record_event()

    def wait(self, tensor: Tensor, arrival: torch.cuda.Event) -> None:
        """Has the current stream wait, and tells the allocator that it uses the tensor."""
        current = torch.cuda.current_stream(tensor.device)
        current.wait_event(arrival)
        tensor.record_stream(current)


class HostTicket:
    """Parts in host memory.

    Attributes:
        nbytes: Bytes that have left the device.
    """

    __slots__ = ("__weakref__", "arriving", "copies", "devices", "nbytes", "place", "store")

    def __init__(self, store: HostStore, copies: tuple[Any, ...], parts: Parts) -> None:
        self.store = store
        self.copies = copies
        self.devices = tuple(part.device for part in parts)
        self.nbytes = sum(part.nbytes for part in parts)
        self.place: Place[HostTicket]
        self.arriving: list[tuple[Tensor, Any]] | None = None

    def load(self) -> Parts:
        """The parts on their device; those expected next are started on their way."""
        return self.store.bring(self)


class HostStore:
    """Holds data of a device in pinned host memory. Data in host memory already stays where it is.

    Args:
        transfer: How to copy; without one, CUDA tensors get a stream for each device and others stay.
        prefetch_bytes: Bytes brought back ahead of their use.
    """

    name = "cpu"

    def __init__(self, transfer: Transfer | None = None, *, prefetch_bytes: int = 64 * 2**20) -> None:
        self._given = transfer
        self._transfers: dict[torch.device, Transfer] = {}
        self._order: Order[HostTicket] = Order()
        self._limit = prefetch_bytes
        self._coming: weakref.WeakSet[HostTicket] = weakref.WeakSet()
        self._lock = new_lock()

    def put(self, parts: Parts) -> HostTicket | Held:
        """Starts to move dense tensors to the host; returns at once."""
        transfer = self._transfer(parts[0].device)
        if transfer is None:
            return Held(parts)
        ticket = HostTicket(self, tuple(transfer.out(part) for part in parts), parts)
        with self._lock:
            ticket.place = self._order.add(ticket)
        return ticket

    def begin_step(self) -> None:
        """Learns from the last backward pass in which order to bring data back."""
        with self._lock:
            self._order.begin()

    def close(self) -> None:
        """Nothing to do: copies go with their tickets."""

    def bring(self, ticket: HostTicket) -> Parts:
        """The parts of a ticket on their device, with those expected next on their way."""
        with self._lock:
            arriving = self._start(ticket)
            ticket.arriving = None
            self._coming.discard(ticket)
            room = self._limit - sum(other.nbytes for other in self._coming if other.arriving is not None)
            for other in self._order.ask(ticket.place, _AHEAD):
                if other.arriving is None and other.nbytes <= room:
                    other.arriving = self._start(other)
                    self._coming.add(other)
                    room -= other.nbytes
        transfer = self._transfer(ticket.devices[0])
        assert transfer is not None
        for tensor, arrival in arriving:
            transfer.wait(tensor, arrival)
        return tuple(tensor for tensor, _ in arriving)

    def _start(self, ticket: HostTicket) -> list[tuple[Tensor, Any]]:
        if ticket.arriving is not None:
            return ticket.arriving
        transfer = self._transfer(ticket.devices[0])
        assert transfer is not None
        return [transfer.back(copy, device) for copy, device in zip(ticket.copies, ticket.devices, strict=True)]

    def _transfer(self, device: torch.device) -> Transfer | None:
        if self._given is not None or device.type != "cuda":
            return self._given
        if device not in self._transfers:
            self._transfers[device] = CudaTransfer(device)
        return self._transfers[device]
